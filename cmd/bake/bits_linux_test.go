package main

import (
	"archive/tar"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bake.build/bake/internal/need"
)

// circumstances are what a process has of its user and its host. Those that are ""
// are those of this process.
type circumstances struct{ umask, zone, locale, jobs string }

var otherCircumstances = circumstances{"077", "Asia/Tokyo", "de_DE.UTF-8", "1"}

// command returns a command of bake's.
func (c circumstances) command(bin string, args ...string) *exec.Cmd {
	if c == (circumstances{}) {
		cmd := exec.Command(bin, args...)
		cmd.Env = os.Environ()
		return cmd
	}
	cmd := exec.Command("sh", append([]string{"-c", `umask "$1" && shift && exec "$@"`, "sh", c.umask, bin}, args...)...)
	cmd.Args = append(cmd.Args, "--jobs", c.jobs)
	cmd.Env = append(os.Environ(), "TZ="+c.zone, "LC_ALL="+c.locale)
	return cmd
}

// bitsDefinition has a layer of each kind, and leaves in every format.
const bitsDefinition = `
m = source(rootfs(), tar = "tree.tar")
m = write(m, "/srv/made/by/write", "x\n")
m = copy(m, "site/", "/etc/site/")
m = copy(m, "site/", "/opt/made/by/copy")
m = shell(m, "busybox chmod 644 /etc/secret; busybox mkdir /srv/now; busybox touch /srv/now/file; busybox ln -s file /srv/now/link")
m = shell(m, "busybox rm /etc/site/sub/page; busybox echo more >>/etc/more; busybox echo $SOURCE_DATE_EPOCH >/etc/epoch")
export(m, "web", size = "64M", boot = "none", formats = [
    "raw", "qcow2", "vmdk", "vmdk-sparse", "vdi", "vhd", "vhd-dynamic", "tar", "tar.gz", "tar.zst", "squashfs", "oci", "docker",
])
export(source(rootfs(), layer = write(m, "/etc/more", "")), "flat", formats = ["tar", "squashfs", "oci"])
export(write(source(rootfs(), scratch = True), "/a/b", ""), "scratch", formats = ["tar", "squashfs", "oci"])
`

// TestEqualBits builds one definition on two fresh caches, the second one in a
// directory with a default ACL and another group, by a process with another
// umask, time zone, locale and number of jobs, and compares the digests of every
// file.
func TestEqualBits(t *testing.T) {
	need.Slow(t)
	t.Parallel()
	need.Root(t)
	need.Tool(t, "qemu-img", "mke2fs", "mksquashfs", "busybox")
	bin := buildBake(t)
	sums := map[string]string{}
	for round, how := range []circumstances{{"022", "UTC", "C.UTF-8", "4"}, otherCircumstances} {
		if round > 0 {
			time.Sleep(1100 * time.Millisecond) // times of files are in seconds in most formats
		}
		dir := t.TempDir()
		makeBitsProject(t, dir)
		cache := filepath.Join(dir, "cache")
		if err := os.Mkdir(cache, 0o755); err != nil {
			t.Fatal(err)
		}
		if round > 0 {
			const acl = "\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x02\x00\x06\x00\xe8\x03\x00\x00\x04\x00\x05\x00\xff\xff\xff\xff\x10\x00\x07\x00\xff\xff\xff\xff\x20\x00\x05\x00\xff\xff\xff\xff"
			if err := unix.Setxattr(cache, "system.posix_acl_default", []byte(acl), 0); err != nil {
				t.Log("without a default ACL:", err)
			}
			if err := os.Chown(cache, 0, 7); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(cache, 0o755|os.ModeSetgid); err != nil {
				t.Fatal(err)
			}
		}
		cmd := how.command(bin, "build")
		cmd.Dir = dir
		cmd.Env = append(cmd.Env, "BAKE_CACHE_DIR="+cache)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build: %v\n%s", err, out)
		}
		for _, name := range []string{"web", "flat", "scratch"} {
			b, err := os.ReadFile(filepath.Join(dir, "out", name, "SHA256SUMS"))
			if err != nil {
				t.Fatal(err)
			}
			if round == 0 {
				sums[name] = string(b)
			} else if string(b) != sums[name] {
				t.Errorf("%s: the digests are\n%s\nand\n%s", name, sums[name], b)
			}
		}
	}
}

// makeBitsProject makes a project whose archive does not name its directories.
func makeBitsProject(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "site/sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"images.star": bitsDefinition, "BAKE_ROOT": "", "site/sub/page": "page"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// Of the project, modes are part of keys.
	for _, name := range []string{"site", "site/sub"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	box, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(box)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "tree.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := tar.NewWriter(f)
	attrs := map[string]string{}
	for i := range 8 {
		attrs["SCHILY.xattr.user."+strconv.Itoa(7*i%8)] = "value"
	}
	for _, e := range []struct {
		h    tar.Header
		data []byte
	}{
		{tar.Header{Name: "bin/busybox", Mode: 0o755, PAXRecords: attrs}, program},
		{tar.Header{Name: "bin/sh", Typeflag: tar.TypeSymlink, Linkname: "busybox"}, nil},
		{tar.Header{Name: "etc/secret", Mode: 0o600}, []byte("key")},
		{tar.Header{Name: "usr/share/deep/file", Mode: 0o644}, []byte("text")},
	} {
		e.h.Size, e.h.ModTime = int64(len(e.data)), time.Unix(1_600_000_000, 0)
		if err := w.WriteHeader(&e.h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
