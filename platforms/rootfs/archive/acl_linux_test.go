package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/rootfs/archive"
)

// whole is what origins unpack with.
var whole = archive.Options{Whole: true, Whiteouts: archive.WhiteoutDelete}

func getfacl(t *testing.T, dir string, names ...string) string {
	t.Helper()
	cmd := exec.Command("getfacl", append([]string{"-cnps", "--"}, names...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("getfacl: %v\n%s", err, out)
	}
	return strings.Join(strings.Fields(string(out)), " ")
}

// TestForeignACLs unpacks what GNU tar and bsdtar make of a tree with ACLs, and
// has them unpack what Pack makes of it. getfacl is the judge.
func TestForeignACLs(t *testing.T) {
	need.Root(t)
	need.Tool(t, "setfacl", "getfacl", "tar", "bsdtar")
	src := t.TempDir()
	for _, name := range []string{"d/e/f", "etc/passwd", "etc/group"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(src, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		// The numbers are not those of this host.
		if err := os.WriteFile(filepath.Join(src, name), []byte("daemon:x:7007:7008:::\n"), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	for _, acl := range [][]string{{"u:daemon:rwx,g:daemon:rx,g::---", "d/e/f"}, {"u:daemon:rx,d:u:daemon:rwx,d:g:daemon:r", "d"}} {
		cmd := exec.Command("setfacl", "-m", acl[0], acl[1])
		cmd.Dir = src
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("setfacl: %v\n%s", err, out)
		}
	}
	names := []string{"d", "d/e", "d/e/f"}
	numbers := getfacl(t, src, names...)
	// By name, daemon is whom the archive's own tables say.
	named := strings.NewReplacer("user:1:", "user:7007:", "group:1:", "group:7007:").Replace(numbers)
	for _, c := range []struct {
		name, want string
		cmd        []string
	}{
		{"GNU tar, names", named, []string{"tar", "--acls", "-cf", "-", "d", "etc"}},
		{"GNU tar, attributes", numbers, []string{"tar", "--xattrs", "--xattrs-include=*", "-cf", "-", "d", "etc"}},
		{"bsdtar", numbers, []string{"bsdtar", "--acls", "--format=pax", "-cf", "-", "d", "etc"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command(c.cmd[0], c.cmd[1:]...)
			cmd.Dir = src
			stream, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			dst := t.TempDir()
			if err := archive.Unpack(t.Context(), dst, bytes.NewReader(stream), whole); err != nil {
				t.Fatal(err)
			}
			if got := getfacl(t, dst, names...); got != c.want {
				t.Errorf("unpacked\n%s\nwant\n%s", got, c.want)
			}
		})
	}
	var packed bytes.Buffer
	if err := archive.Pack(t.Context(), &packed, src, archive.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, tool := range [][]string{{"tar", "--acls", "-xpf", "-"}, {"bsdtar", "--acls", "-xpf", "-"}} {
		t.Run("to "+tool[0], func(t *testing.T) {
			dst := t.TempDir()
			cmd := exec.Command(tool[0], tool[1:]...)
			cmd.Dir, cmd.Stdin = dst, bytes.NewReader(packed.Bytes())
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if got := getfacl(t, dst, names...); got != numbers {
				t.Errorf("unpacked\n%s\nwant\n%s", got, numbers)
			}
		})
	}
}

// TestNothingIsInherited unpacks in a directory with a default ACL, an archive
// that gives one to a directory, and a second layer that has neither it nor an
// attribute of the first.
func TestNothingIsInherited(t *testing.T) {
	need.Root(t)
	const acl = "\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x02\x00\x06\x00\xe8\x03\x00\x00\x04\x00\x05\x00\xff\xff\xff\xff\x10\x00\x07\x00\xff\xff\xff\xff\x20\x00\x05\x00\xff\xff\xff\xff"
	dst := t.TempDir()
	in := func(name string) string { return filepath.Join(dst, name) }
	if err := unix.Setxattr(dst, "system.posix_acl_default", []byte(acl), 0); err != nil {
		t.Skip("needs a file system with ACLs:", err)
	}
	fresh := in("fresh")
	if err := archive.NewDir(fresh, 0o755); err != nil {
		t.Fatal(err)
	}
	d, noted := dir("d"), dir("noted")
	d.PAXRecords = map[string]string{"SCHILY.xattr.system.posix_acl_default": acl}
	noted.PAXRecords = map[string]string{"SCHILY.xattr.user.note": "x"}
	key := file("d/key")
	key.Mode = 0o640
	var lost []string
	o := whole
	o.Dropped = func(name string) { lost = append(lost, name) }
	labelled := file("labelled")
	labelled.PAXRecords = map[string]string{"SCHILY.xattr.security.selinux": "x", "SCHILY.xattr.trusted.x": "y", "LIBARCHIVE.xattr.user.kept": "eA"}
	for _, s := range []*bytes.Buffer{
		stream(t, d, key, noted, file("implied/f"), labelled),
		stream(t, dir("noted"), file("d/later"), file("noted/f")),
	} {
		if err := archive.Unpack(context.Background(), fresh, s, o); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"": "", "d": "system.posix_acl_default", "d/key": "", "d/later": "", "implied": "", "implied/f": "", "noted": "", "noted/f": "", "labelled": "user.kept",
	} {
		b := make([]byte, 1024)
		n, err := unix.Llistxattr(filepath.Join(fresh, name), b)
		if got := strings.ReplaceAll(string(b[:max(n, 0)]), "\x00", ""); err != nil || got != want {
			t.Errorf("/%s: attributes %q, %v, want %q", name, got, err, want)
		}
	}
	if got := strings.Join(lost, " "); got != "security.selinux trusted.x" {
		t.Errorf("dropped %q", got)
	}
}

// TestTimesOfDirectories: when an archive was unpacked is no part of the tree.
func TestTimesOfDirectories(t *testing.T) {
	dst := t.TempDir()
	old := time.Unix(1234, 0)
	if err := os.Mkdir(filepath.Join(dst, "there"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("there", filepath.Join(dst, "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dst, filepath.Join(dst, "there")} {
		if err := os.Chtimes(name, old, old); err != nil {
			t.Fatal(err)
		}
	}
	d, err := archive.MkdirAll(dst, "there/made/too")
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	named := dir("named")
	named.ModTime = time.Unix(99, 0)
	if err := archive.Unpack(t.Context(), dst, stream(t, file("there/f"), file("link/g"), file("a/b/f"), named, file("named/f")), unowned); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]time.Time{
		".": old, "there": old, "there/made": platforms.FileTime, "there/made/too": platforms.FileTime,
		"a": platforms.FileTime, "a/b": platforms.FileTime, "named": named.ModTime,
	} {
		if fi, err := os.Stat(filepath.Join(dst, name)); err != nil || !fi.ModTime().Equal(want) {
			t.Errorf("%s: %v, %v, want %v", name, fi.ModTime(), err, want)
		}
	}
}

// TestNamesOfImages: absolute names, and ".." that stays inside, are read as
// other tools do.
func TestNamesOfImages(t *testing.T) {
	dst := t.TempDir()
	o := unowned
	o.Whole = true
	s := stream(t, dir("/"), file("/etc/f"), file("etc/../etc/g"), hard("/etc/h", "/etc/../etc/f"))
	if err := archive.Unpack(t.Context(), dst, s, o); err != nil {
		t.Fatal(err)
	}
	if got, want := list(t, dst), "etc etc/f etc/g etc/h"; got != want {
		t.Errorf("tree is %s, want %s", got, want)
	}
	for _, bad := range []tar.Header{file("../f"), file("/../f"), file("etc/../../f"), hard("h", "../../f"), {Typeflag: tar.TypeReg}} {
		if err := archive.Unpack(t.Context(), dst, stream(t, bad), o); err == nil || !strings.Contains(err.Error(), "escapes") {
			t.Errorf("%q: error %v", bad.Name, err)
		}
	}
}

func TestDevice00(t *testing.T) {
	err := archive.Unpack(t.Context(), t.TempDir(), stream(t, tar.Header{Typeflag: tar.TypeChar, Name: "dev/x"}), archive.Options{NoOwners: true})
	checkErr(t, err, "character device 0:0")
}
