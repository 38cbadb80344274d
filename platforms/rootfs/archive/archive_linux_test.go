package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bake.build/bake/internal/need"
	"bake.build/bake/platforms/rootfs/archive"
)

// unowned is what an ordinary user can do.
var unowned = archive.Options{NoOwners: true, NoDevices: true}

func stream(t testing.TB, entries ...tar.Header) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		body := ""
		if h.Typeflag == tar.TypeReg {
			body = "content of " + h.Name
			h.Size = int64(len(body))
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func file(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name} }
func dir(name string) tar.Header  { return tar.Header{Typeflag: tar.TypeDir, Name: name} }
func link(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
}
func hard(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to}
}

func TestHostileArchives(t *testing.T) {
	beneath := unowned
	beneath.Links = archive.LinksBeneath
	for _, tt := range []struct {
		name    string
		o       archive.Options
		entries []tar.Header
		err     string // "" means it is contained without an error
	}{
		{"dotdot", unowned, []tar.Header{file("../outside/f")}, "entry escapes"},
		{"dotdot inside", unowned, []tar.Header{file("a/../../outside/f")}, "entry escapes"},
		{"absolute", unowned, []tar.Header{file("/outside/f")}, "entry escapes"},
		{"only dotdot", unowned, []tar.Header{dir("..")}, "entry escapes"},
		{"through a relative link", unowned, []tar.Header{link("l", "../outside"), file("l/f")}, "file exists"},
		{"through a link, beneath", beneath, []tar.Header{link("l", "../outside"), file("l/f")}, "entry escapes"},
		{"through an absolute link, beneath", beneath, []tar.Header{link("l", "/"), file("l/f")}, "entry escapes"},
		{"onto a link", unowned, []tar.Header{link("l", "../outside/secret"), file("l")}, ""},
		{"directory onto a link", unowned, []tar.Header{link("l", "../outside"), dir("l"), file("l/f")}, ""},
		{"link chain", beneath, []tar.Header{link("a", "b"), link("b", ".."), file("a/outside/f")}, "entry escapes"},
		{"hard link out", unowned, []tar.Header{hard("h", "../outside/secret")}, "entry escapes"},
		{"hard link through a link", beneath, []tar.Header{link("l", "../outside"), hard("h", "l/secret"), file("h")}, "entry escapes"},
		{"hard link to a link, written", unowned, []tar.Header{link("l", "../outside/secret"), hard("h", "l"), file("h")}, ""},
		{"replaced parent", unowned, []tar.Header{file("d/f"), link("d", "../outside"), file("d/g")}, "file exists"},
		{"whiteout dotdot", archive.Options{NoOwners: true, Whiteouts: archive.WhiteoutDelete}, []tar.Header{file(".wh...")}, "whiteout of no name"},
		{"whiteout through a link", archive.Options{NoOwners: true, Whiteouts: archive.WhiteoutDelete, Links: archive.LinksBeneath},
			[]tar.Header{link("l", "../outside"), file("l/.wh.secret")}, "entry escapes"},
		{"opaque through a link", archive.Options{NoOwners: true, Whiteouts: archive.WhiteoutDelete, Links: archive.LinksBeneath},
			[]tar.Header{link("l", "../outside"), file("l/.wh..wh..opq")}, "entry escapes"},
		{"unknown type", unowned, []tar.Header{{Typeflag: 'Z', Name: "z"}}, "unknown type"},
		{"owner that chown leaves", archive.Options{}, []tar.Header{{Typeflag: tar.TypeReg, Name: "f", Uid: math.MaxUint32}}, "no such number"},
		{"owner whose low bits are root's", archive.Options{}, []tar.Header{{Typeflag: tar.TypeReg, Name: "f", Gid: 1 << 32}}, "no such number"},
		{"file as top", unowned, []tar.Header{{Typeflag: tar.TypeSymlink, Name: ".", Linkname: "/"}}, "not a directory"},
		{"file as parent", unowned, []tar.Header{file("f"), file("f/g")}, "not a directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base := t.TempDir()
			outside, dst := filepath.Join(base, "outside"), filepath.Join(base, "dst")
			for _, d := range []string{outside, dst} {
				if err := os.Mkdir(d, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("keep"), 0o600); err != nil {
				t.Fatal(err)
			}
			err := archive.Unpack(context.Background(), dst, stream(t, tt.entries...), tt.o)
			checkErr(t, err, tt.err)
			names, _ := os.ReadDir(outside)
			got, _ := os.ReadFile(filepath.Join(outside, "secret"))
			if len(names) != 1 || string(got) != "keep" {
				t.Errorf("outside holds %v, secret %q", names, got)
			}
		})
	}
}

func checkErr(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("Unpack: %v", err)
		}
		return
	}
	for w := range strings.SplitSeq(want, "|") {
		if err != nil && strings.Contains(err.Error(), w) {
			return
		}
	}
	t.Errorf("Unpack: %v, want an error with %q", err, want)
}

func TestLinksInRoot(t *testing.T) {
	dst := t.TempDir()
	s := stream(t, dir("run"), dir("var"), link("var/run", "/run"), file("var/run/x"), link("up", "../../../run"), file("up/y"))
	if err := archive.Unpack(context.Background(), dst, s, unowned); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"run/x", "run/y"} {
		if _, err := os.Stat(filepath.Join(dst, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestKeepDirLinks(t *testing.T) {
	for _, keep := range []bool{true, false} {
		dst := t.TempDir()
		o := unowned
		o.KeepDirLinks = keep
		s := stream(t, dir("usr/lib"), link("lib", "usr/lib"), dir("lib"), file("lib/x"))
		if err := archive.Unpack(context.Background(), dst, s, o); err != nil {
			t.Fatal(err)
		}
		_, err := os.Stat(filepath.Join(dst, "usr/lib/x"))
		if (err == nil) != keep {
			t.Errorf("keep %t: usr/lib/x: %v", keep, err)
		}
	}
}

func TestWhiteoutDelete(t *testing.T) {
	dst := t.TempDir()
	ctx := context.Background()
	lower := stream(t, file("a"), file("b"), file("d/old"), file("d/sub/old"), file("e/x"))
	if err := archive.Unpack(ctx, dst, lower, unowned); err != nil {
		t.Fatal(err)
	}
	o := unowned
	o.Whiteouts = archive.WhiteoutDelete
	upper := stream(t, file(".wh.a"), file("d/sub/new"), file("d/.wh..wh..opq"), file("b2"), file(".wh.b2"), file(".wh.e"), file(".wh.missing"))
	if err := archive.Unpack(ctx, dst, upper, o); err != nil {
		t.Fatal(err)
	}
	if got, want := list(t, dst), "b b2 d d/sub d/sub/new"; got != want {
		t.Errorf("tree is %s, want %s", got, want)
	}
}

func list(t *testing.T, root string) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(root, func(p string, _ os.DirEntry, err error) error {
		if rel, _ := filepath.Rel(root, p); rel != "." {
			names = append(names, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

func TestSparse(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	f, err := os.Create(filepath.Join(src, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 8<<20 + 100
	for at, s := range map[int64]string{0: "begin", 3<<20 + 17: "middle"} {
		if _, err := f.WriteAt([]byte(s), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := archive.Pack(context.Background(), &b, src, unowned); err != nil {
		t.Fatal(err)
	}
	if err := archive.Unpack(context.Background(), dst, &b, unowned); err != nil {
		t.Fatal(err)
	}
	want, _ := os.ReadFile(f.Name())
	got, err := os.ReadFile(filepath.Join(dst, "sparse"))
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("content differs after the round trip (%v)", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(dst, "sparse"), &st); err != nil || st.Blocks*512 > 1<<20 {
		t.Errorf("takes %d bytes on disk (%v), want holes", st.Blocks*512, err)
	}
}

// TestFaithful packs a tree with everything a machine's disk can hold, unpacks
// it and compares the two.
func TestFaithful(t *testing.T) {
	need.Root(t)
	src, dst := t.TempDir(), t.TempDir()
	in := func(name string) string { return filepath.Join(src, name) }
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(os.MkdirAll(in("d/e"), 0o755))
	do(os.WriteFile(in("d/suid"), []byte("x"), 0o600))
	do(os.Chown(in("d/suid"), 3000000000, 65534))
	do(os.Chmod(in("d/suid"), 0o755|os.ModeSetuid|os.ModeSetgid))
	do(os.WriteFile(in("cap"), []byte("y"), 0o755))
	do(unix.Setxattr(in("cap"), "security.capability", []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	do(unix.Setxattr(in("cap"), "user.note", []byte("bin\x00ary"), 0))
	do(unix.Setxattr(in("d/e"), "system.posix_acl_access", []byte("\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x02\x00\x05\x00\xe8\x03\x00\x00\x04\x00\x05\x00\xff\xff\xff\xff\x10\x00\x05\x00\xff\xff\xff\xff\x20\x00\x05\x00\xff\xff\xff\xff"), 0))
	do(os.Link(in("cap"), in("d/hard")))
	do(os.Symlink("/nowhere", in("link")))
	do(os.Lchown(in("link"), 7, 8))
	do(unix.Mkfifo(in("fifo"), 0o640))
	do(unix.Mknod(in("dev"), unix.S_IFBLK|0o660, int(unix.Mkdev(259, 70000))))
	do(os.WriteFile(in(strings.Repeat("n", 200)), nil, 0o644))
	do(os.Chmod(in("d/e"), 0o777|os.ModeSticky))
	do(os.Chtimes(in("d/e"), time.Unix(5, 0), time.Unix(1234, 0)))
	do(os.Chtimes(in("d"), time.Unix(5, 0), time.Unix(99, 0)))

	var b, again bytes.Buffer
	do(archive.Pack(context.Background(), &b, src, archive.Options{}))
	first := bytes.Clone(b.Bytes())
	do(archive.Unpack(context.Background(), dst, &b, archive.Options{}))
	do(archive.Pack(context.Background(), &again, dst, archive.Options{}))
	if !bytes.Equal(first, again.Bytes()) {
		t.Errorf("the copy packs to other bytes:\n%s\n%s", list(t, src), list(t, dst))
	}
	var st syscall.Stat_t
	do(syscall.Lstat(filepath.Join(dst, "d/suid"), &st))
	if st.Uid != 3000000000 || st.Mode&0o7777 != 0o6755 {
		t.Errorf("d/suid: uid %d mode %o", st.Uid, st.Mode)
	}
	do(syscall.Lstat(filepath.Join(dst, "d/hard"), &st))
	if st.Nlink != 2 {
		t.Errorf("d/hard has %d links", st.Nlink)
	}
	v := make([]byte, 64)
	if n, err := unix.Getxattr(filepath.Join(dst, "cap"), "security.capability", v); err != nil || n < 20 {
		t.Errorf("capability of cap: %d bytes, %v", n, err)
	}
}

func TestOverlayWhiteouts(t *testing.T) {
	need.Root(t)
	dst := t.TempDir()
	o := archive.Options{Whiteouts: archive.WhiteoutOverlay}
	evil := file("evil")
	evil.PAXRecords = map[string]string{"SCHILY.xattr.trusted.overlay.redirect": "/etc"}
	s := stream(t, file("a/.wh.gone"), file("b/.wh..wh..opq"), file("b/new"), evil)
	if err := archive.Unpack(context.Background(), dst, s, o); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(dst, "a/gone"), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0 {
		t.Errorf("a/gone: mode %o, device %d, %v; want a 0/0 character device", st.Mode, st.Rdev, err)
	}
	v := make([]byte, 8)
	if n, err := unix.Lgetxattr(filepath.Join(dst, "b"), "trusted.overlay.opaque", v); err != nil || string(v[:n]) != "y" {
		t.Errorf("b: opaque is %q, %v", v[:n], err)
	}
	if _, err := unix.Lgetxattr(filepath.Join(dst, "evil"), "trusted.overlay.redirect", v); err != unix.ENODATA {
		t.Errorf("evil: an attribute of overlayfs was set (%v)", err)
	}
	var b bytes.Buffer
	if err := archive.Pack(context.Background(), &b, dst, o); err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(&b); ; {
		h, err := r.Next()
		if err != nil {
			break
		}
		names = append(names, h.Name)
	}
	if got, want := strings.Join(names, " "), "./ a/ a/.wh.gone b/ b/.wh..wh..opq b/new evil"; got != want {
		t.Errorf("packed %s, want %s", got, want)
	}
}

func TestTruncated(t *testing.T) {
	b := stream(t, file("f"), file("g")).Bytes()
	for _, n := range []int{100, 520, 1030, 1500} {
		if err := archive.Unpack(context.Background(), t.TempDir(), bytes.NewReader(b[:n]), unowned); err == nil {
			t.Errorf("an archive cut to %d bytes gave no error", n)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(stream(f, file("../x"), link("l", ".."), file("l/f")).Bytes())
	f.Add(stream(f, dir("d"), link("d/l", "/"), hard("h", "d/l"), file("h")).Bytes())
	f.Add(stream(f, file("d/.wh..wh..opq"), file(".wh.d"), file("d/x")).Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 64<<10 {
			return
		}
		base := t.TempDir()
		dst := filepath.Join(base, "dst")
		if err := os.Mkdir(dst, 0o755); err != nil {
			t.Fatal(err)
		}
		o := unowned
		if len(b) > 0 {
			o.Whiteouts = archive.Whiteouts(b[0] % 3)
			o.Links = archive.Links(b[0] / 3 % 2)
			o.KeepDirLinks = b[0]&0x40 != 0
		}
		if o.Whiteouts == archive.WhiteoutOverlay {
			o.UserXattr = true
		}
		// A sparse file of a few bytes may take hours to read: that is for the
		// caller's context to end.
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = archive.Unpack(ctx, dst, bytes.NewReader(b), o)
		names, err := os.ReadDir(base)
		if err != nil || len(names) != 1 {
			t.Fatalf("an entry left the destination: %v (%v)", names, err)
		}
	})
}
