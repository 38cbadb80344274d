package origin

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
)

// The packages that a machine boots from.
var bootable = []string{"linux-image-cloud-amd64", "openssh-server", "systemd", "systemd-sysv", "ifupdown"}

func needDebian(t testing.TB) {
	t.Helper()
	need.Slow(t)
	need.Root(t)
	need.Tool(t, "mmdebstrap", "gpgv", "apt-get")
	need.File(t, debian.keyring)
}

func TestDebianBootable(t *testing.T) {
	needDebian(t)
	h := newHost(t)
	var lists [2]string
	for i, round := range []string{"cold", "from the cache"} {
		start := time.Now()
		o, err := Pin(t.Context(), originOf(t, "debian", Options{Debian: "bookworm", Packages: bootable}, nil), h)
		if err != nil {
			t.Fatal(err)
		}
		pinned := time.Since(start)
		tree, out, err := importNew(t, o, h)
		if err != nil {
			t.Fatalf("%v\n%s", err, out.log.String())
		}
		t.Logf("%s: pin %v, all %v, %d bytes downloaded", round, pinned, time.Since(start), out.told["download packages"])
		t.Log(strings.Join(out.phases, "\n"))
		if i == 1 && out.told["download packages"] != 0 {
			t.Errorf("a second import downloaded %d bytes", out.told["download packages"])
		}
		lists[i] = checkBootable(t, tree)
		checkNothingLeft(t, h)
	}
	if lists[0] != lists[1] {
		t.Errorf("two imports of one pin differ:\n%s\n\n%s", lists[0], lists[1])
	}
}

// checkBootable looks at what matters of a tree and returns its packages.
func checkBootable(t *testing.T, tree string) string {
	t.Helper()
	want := map[string]string{
		"etc/hostname":    "localhost\n",
		"etc/machine-id":  "",
		"etc/resolv.conf": "",
		"etc/apt/sources.list": "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] " +
			mirrorOf(t) + " bookworm main\n",
		"etc/systemd/system/multi-user.target.wants/ssh-host-keys.service": "ExecStart=/usr/bin/ssh-keygen -A\n",
		"etc/initramfs-tools/conf.d/vm-drivers":                            "MODULES=list\n",
		"usr/share/doc/bash/copyright":                                     "Free Software",
	}
	for name, part := range want {
		data, err := os.ReadFile(filepath.Join(tree, name))
		if err != nil {
			t.Error(err)
		} else if part == "" && len(data) > 0 || !strings.Contains(string(data), part) {
			t.Errorf("%s holds %q, want %q", name, data, part)
		}
	}
	for _, pattern := range []string{
		"etc/ssh/ssh_host_*", "usr/share/man/*", "usr/share/doc/bash/README*", "usr/share/locale/de",
		"var/cache/apt/archives/*.deb", "etc/apt/*/*bake*", "etc/dpkg/*/*bake*", "var/log/dpkg.log",
		"var/lib/dpkg/info/usrmerge.list", "usr/sbin/policy-rc.d", "dev/pts/*", "dev/shm/*", "proc/*", "sys/*", "run/[^l]*",
	} {
		if found, err := filepath.Glob(filepath.Join(tree, pattern)); err != nil || len(found) > 0 {
			t.Errorf("left in the tree: %v %v", found, err)
		}
	}
	for _, pattern := range []string{"boot/vmlinuz-*", "boot/initrd.img-*", "vmlinuz", "initrd.img", "var/lib/apt/lists/*_Packages.lz4"} {
		if found, err := filepath.Glob(filepath.Join(tree, pattern)); err != nil || len(found) == 0 {
			t.Errorf("the tree lacks %s: %v", pattern, err)
		}
	}
	if link, err := os.Readlink(filepath.Join(tree, "bin")); err != nil || link != "usr/bin" {
		t.Errorf("/bin leads to %q: %v", link, err)
	}
	status, err := os.ReadFile(filepath.Join(tree, "var/lib/dpkg/status"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range bootable {
		if !strings.Contains(string(status), "Package: "+p+"\nStatus: install ok installed\n") {
			t.Errorf("%s is not installed", p)
		}
	}
	return string(status)
}

func mirrorOf(t *testing.T) string {
	t.Helper()
	archive, _, err := Options{}.archives(readHostApt(t.Context(), "/", debian, ""))
	if err != nil {
		t.Fatal(err)
	}
	return archive
}

// checkNothingLeft finds mounts and scratch directories of an import.
func checkNothingLeft(t *testing.T, h testHost) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), h.dir) {
		t.Errorf("mounts are left:\n%s", mounts)
	}
	for _, pattern := range []string{"debian-*", "disk-*", "oci-*", "cache/*/.tmp-*", "cache/*/*/.tmp-*"} {
		if left, err := filepath.Glob(filepath.Join(h.dir, pattern)); err != nil || len(left) > 0 {
			t.Errorf("left: %v %v", left, err)
		}
	}
}

func TestDebianCancel(t *testing.T) {
	needDebian(t)
	h := newHost(t)
	o, err := Pin(t.Context(), originOf(t, "debian", Options{Debian: "bookworm", Packages: bootable}, nil), h)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	dir := t.TempDir()
	start := time.Now()
	if err := Import(ctx, o, dir, h, new(testLogger)); err == nil || !strings.Contains(err.Error(), context.DeadlineExceeded.Error()) {
		t.Errorf("cancelled import: %v", err)
	}
	if took := time.Since(start); took > 2*time.Minute {
		t.Errorf("took %v to stop", took)
	}
	checkNothingLeft(t, h)
}

func TestDebianUnknownPackage(t *testing.T) {
	needDebian(t)
	h := newHost(t)
	o, err := Pin(t.Context(), originOf(t, "debian", Options{Debian: "bookworm", Packages: []string{"no-such-package"}}, nil), h)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = importNew(t, o, h)
	if err == nil || !strings.Contains(err.Error(), "Unable to locate package no-such-package") {
		t.Errorf("got %v", err)
	}
	checkNothingLeft(t, h)
}

// TestDebianWrongPin proves that nothing but what is pinned is imported.
func TestDebianWrongPin(t *testing.T) {
	needDebian(t)
	h := newHost(t)
	o, err := Pin(t.Context(), originOf(t, "debian", Options{Debian: "bookworm"}, nil), h)
	if err != nil {
		t.Fatal(err)
	}
	pin := *o.Pin
	pin.ID = "sha256:" + strings.Repeat("0", 64)
	pin.Detail = map[string]string{"bookworm": mirrorOf(t) + " " + pin.ID}
	o.Pin = &pin
	if _, _, err := importNew(t, o, h); err == nil || !strings.Contains(err.Error(), "moved on") {
		t.Errorf("got %v", err)
	}
	o.Pin = &platforms.Pin{ID: "x", Detail: map[string]string{"bookworm": "nonsense"}}
	if _, _, err := importNew(t, o, h); err == nil || !strings.Contains(err.Error(), "read pin") {
		t.Errorf("got %v", err)
	}
}

// TestDebianNewer installs another release, with the kernel of physical
// machines and with documentation.
func TestDebianNewer(t *testing.T) {
	needDebian(t)
	need.Tool(t, "lsinitramfs")
	h := newHost(t)
	opts := Options{Debian: "trixie", Packages: []string{"linux-image-amd64", "initramfs-tools", "systemd-resolved"}, Docs: true, SecurityMirror: "none"}
	tree, out, err := importNew(t, originOf(t, "debian", opts, nil), h)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.log.String())
	}
	resolved := "../run/systemd/resolve/stub-resolv.conf" // as its package makes it
	for name, want := range map[string]string{"bin": "usr/bin", "lib64": "usr/lib64", "etc/resolv.conf": resolved} {
		if link, err := os.Readlink(filepath.Join(tree, name)); err != nil || link != want {
			t.Errorf("/%s leads to %q: %v", name, link, err)
		}
	}
	for _, pattern := range []string{"usr/share/man/man1/*", "usr/share/doc/bash/README*", "initrd.img"} {
		if found, err := filepath.Glob(filepath.Join(tree, pattern)); err != nil || len(found) == 0 {
			t.Errorf("the tree lacks %s: %v", pattern, err)
		}
	}
	if sources, err := os.ReadFile(filepath.Join(tree, "etc/apt/sources.list")); err != nil || strings.Contains(string(sources), "security") {
		t.Errorf("sources.list: %s, %v", sources, err)
	}
	initrd, err := filepath.Glob(filepath.Join(tree, "boot/initrd.img-*"))
	if err != nil || len(initrd) != 1 {
		t.Fatal(initrd, err)
	}
	modules := string(pipe(t, nil, "lsinitramfs", initrd[0]))
	for _, m := range []string{"ext4", "virtio_blk", "virtio_scsi", "ahci", "ata_piix", "nvme", "xen-blkfront", "hv_storvsc", "vmw_pvscsi", "mptspi", "sd_mod"} {
		if !strings.Contains(modules, "/"+m+".ko") {
			t.Errorf("the initramfs lacks %s", m)
		}
	}
	checkNothingLeft(t, h)
}
