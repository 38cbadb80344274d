package export

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bake.build/bake/internal/need"
)

// TestACLs lets GNU tar and bsdtar restore an archive with ACLs, and looks at
// what squashfs, which has none, says and leaves of the rights.
func TestACLs(t *testing.T) {
	need.Root(t)
	need.Tool(t, "setfacl", "getfacl", "bsdtar", "unsquashfs")
	dir := sampleTree(t)
	if out, err := exec.Command("setfacl", "-m", "u:7007:rwx,g::---,d:u:7007:rx", filepath.Join(dir, "usr")).CombinedOutput(); err != nil {
		t.Fatalf("setfacl: %v\n%s", err, out)
	}
	acl := func(dir string) string {
		cmd := exec.Command("getfacl", "-cnps", "usr", "usr/text")
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("getfacl: %v\n%s", err, out)
		}
		return string(out)
	}
	want := acl(dir)
	if !strings.Contains(want, "default:user:7007:r-x") {
		t.Fatalf("the tree has no ACL: %s", want)
	}
	var said []string
	r := request(t, dir, "tar", "squashfs")
	r.Warn = func(text string) { said = append(said, text) }
	mustRun(t, r)
	for _, tool := range []string{"tar", "bsdtar"} {
		to := t.TempDir()
		if out, err := exec.Command(tool, "--acls", "-xpf", filepath.Join(r.OutDir, "web.tar"), "-C", to).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", tool, err, out)
		}
		if got := acl(to); got != want {
			t.Errorf("%s restores\n%s\nwant\n%s", tool, got, want)
		}
	}
	if len(said) != 1 || !strings.Contains(said[0], "1 files, /usr first") {
		t.Errorf("squashfs says %q", said)
	}
	out, err := exec.Command("unsquashfs", "-ll", filepath.Join(r.OutDir, "web.squashfs"), "usr").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "drwx---r-x") {
		t.Errorf("squashfs: %v\n%s\nwant drwx---r-x", err, out)
	}
}

// TestSquashfsIsTheSame makes the same attributes in another order.
func TestSquashfsIsTheSame(t *testing.T) {
	need.Root(t)
	var sums []string
	for _, names := range [][]string{{"user.a", "user.b", "user.c"}, {"user.c", "user.a", "user.b"}} {
		dir := sampleTree(t)
		for _, name := range names {
			if err := unix.Lsetxattr(filepath.Join(dir, "etc/hostname"), name, []byte(name), 0); err != nil {
				t.Fatal(err)
			}
		}
		at := []unix.Timespec{{Sec: 7}, {Sec: 7}}
		for _, name := range []string{"usr/link", "."} {
			if err := unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(dir, name), at, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				t.Fatal(err)
			}
		}
		sums = append(sums, string(mustRun(t, request(t, dir, "squashfs")).Files[0].SHA256))
	}
	if sums[0] != sums[1] {
		t.Errorf("digests %q", sums)
	}
}

func TestSquashfsTimes(t *testing.T) {
	for _, sec := range []int64{-1, 1 << 32} {
		dir := sampleTree(t)
		if err := os.Chtimes(filepath.Join(dir, "usr/text"), time.Unix(sec, 0), time.Unix(sec, 0)); err != nil {
			t.Fatal(err)
		}
		_, err := Run(t.Context(), request(t, dir, "squashfs"))
		if err == nil || !strings.Contains(err.Error(), "1970 to 2106") {
			t.Errorf("%d: %v", sec, err)
		}
	}
}

// TestWhiteoutNames: a file with the name of a mark is refused.
func TestWhiteoutNames(t *testing.T) {
	dir := sampleTree(t)
	if err := os.WriteFile(filepath.Join(dir, "usr/.wh.keep"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"oci", "docker"} {
		if _, err := Run(t.Context(), request(t, dir, format)); !errors.Is(err, errWhiteoutName) || !strings.Contains(err.Error(), "usr/.wh.keep") {
			t.Errorf("%s: %v", format, err)
		}
	}
	mustRun(t, request(t, dir, "tar"))
}
