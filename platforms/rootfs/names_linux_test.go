package rootfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/platforms"
)

// TestHosts looks at what stays of what steps make of /etc/hosts, in an image
// that has one.
func TestHosts(t *testing.T) {
	const had = "127.0.0.1 localhost\n192.0.2.1 image\n"
	for name, tt := range map[string]struct{ script, want string }{
		"nothing":        {"grep -q '127.0.1.1.bake' /etc/hosts", had},
		"a line more":    {"echo '192.0.2.7 db' >>/etc/hosts", had + "192.0.2.7 db\n"},
		"an edited line": {"sed -i s/localhost/me/ /etc/hosts", "127.0.0.1 me\n192.0.2.1 image\n"},
		"replaced":       {"echo '192.0.2.7 db' >/etc/new; mv /etc/new /etc/hosts", "192.0.2.7 db\n"},
		"removed":        {"rm /etc/hosts", ""},
		"a link":         {"ln -sf /usr/hosts /etc/hosts", "-> /usr/hosts"},
		"twice":          {"echo '192.0.2.7 db' >>/etc/hosts; sed -i s/image/disk/ /etc/hosts", "127.0.0.1 localhost\n192.0.2.1 disk\n192.0.2.7 db\n"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, "")
			if err := os.WriteFile(filepath.Join(f.base.Dir, "fs/etc/hosts"), []byte(had), 0o644); err != nil {
				t.Fatal(err)
			}
			m := f.boot(t)
			if out, err := sh(m, tt.script); err != nil {
				t.Fatal(err, out)
			}
			l := f.commit(t, m, "after")
			if got := inTree(t, f, []platforms.Layer{f.base, l}, "etc/hosts"); got != tt.want {
				t.Errorf("the layer has %q, want %q", got, tt.want)
			}
		})
	}
}

// TestOfflineMarks looks for what tells programs that no machine runs, and that
// none of it reaches a layer.
func TestOfflineMarks(t *testing.T) {
	f := newFixture(t, "")
	fs := filepath.Join(f.base.Dir, "fs")
	for _, dir := range []string{"usr/sbin", "usr/bin", "usr/local/sbin", "etc/sudoers.d"} {
		if err := os.MkdirAll(filepath.Join(fs, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(fs+"/usr/bin/dpkg", nil, 0o755), os.WriteFile(fs+"/usr/bin/sudo", nil, 0o755), os.WriteFile(fs+"/usr/bin/systemctl", []byte("#!/bin/sh\necho $SYSTEMD_OFFLINE \"$@\"\n"), 0o755), os.Symlink("../usr/bin/systemctl", fs+"/bin/systemctl"), os.Chmod(fs+"/usr/local/sbin", 0o775)); err != nil {
		t.Fatal(err)
	}
	m := f.boot(t)
	out, err := sh(m, `echo $container $SYSTEMD_OFFLINE; cat /run/systemd/container; stat -c %a /usr/local/sbin /etc/sudoers.d/*
env -u SYSTEMD_OFFLINE systemctl enable --now "a b" 2>/dev/null; policy-rc.d; echo $?; grub-mkconfig -o /boot/x 2>/dev/null; echo $?; ls /boot /usr/local/sbin`)
	if want := "bake 1 bake 775 440 1 enable a b 101 0 ls: /boot: No such file or directory /usr/local/sbin: grub-mkconfig systemctl"; strings.Join(strings.Fields(out), " ") != want {
		t.Errorf("%v\n%s, want\n%s", err, out, want)
	}
	// What hardening scripts do to all programs, and what scripts of the field do.
	if out, err := sh(m, "chmod -R go-w /usr; grep -q SYSTEMD_OFFLINE /etc/sudoers.d/*; chmod 400 /etc/sudoers.d/*; touch /usr/local/sbin/grub-mkconfig; rm -f /usr/sbin/policy-rc.d"); err != nil {
		t.Fatal(err, out)
	}
	l := f.commit(t, m, "after")
	chain := []platforms.Layer{f.base, l}
	for name, want := range map[string]string{"usr/local/sbin/grub-mkconfig": "", "usr/sbin/policy-rc.d": "", "etc/sudoers.d/zz-bake-step": "", "usr/local/sbin/systemctl": ""} {
		if got := inTree(t, f, chain, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
		if _, err := os.Lstat(filepath.Join(l.Dir, "fs", name)); want == "" && err == nil {
			t.Errorf("the layer has a mark for %s, which was never in the image", name)
		}
	}
}
