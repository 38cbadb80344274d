package tree

import (
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"testing"
)

func scan(t *testing.T, dir string) *Tree {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux: file trees are read there only")
	}
	tr, err := Scan(dir)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func write(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, n := range names {
		p := filepath.Join(dir, n)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func paths(t *testing.T, tr *Tree) []string {
	t.Helper()
	var list []string
	err := tr.Walk(func(p string, e *Entry) error {
		list = append(list, p)
		if e.Name == "skipped" {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestScanSortsAndSharesLinks(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "b/z", "b/a", "a", "c", "skipped/x")
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b/link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("b/a", filepath.Join(dir, "sym")); err != nil {
		t.Fatal(err)
	}
	tr := scan(t, dir)
	want := []string{".", "a", "b", "b/a", "b/link", "b/z", "c", "skipped", "sym"}
	if got := paths(t, tr); !slices.Equal(got, want) {
		t.Errorf("paths %q, want %q", got, want)
	}
	a, link := tr.Lookup("a"), tr.Lookup("b/link")
	if a.Inode != link.Inode || a.Links != 2 {
		t.Errorf("hard links do not share an inode: %v, %v", a, link)
	}
	if s := tr.Lookup("sym"); s.Target != "b/a" {
		t.Errorf("target %q", s.Target)
	}
	// 4 files, of which one has two names, 2 directories, a link, the root.
	if u := tr.Usage(); u.Inodes != 9 || u.Bytes != int64(len("b/z")+len("b/a")+len("a")+len("c")+len("skipped/x")) {
		t.Errorf("usage %+v", u)
	}
}

func TestAdd(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "etc/fstab", "file")
	tr := scan(t, dir)
	label := Xattr{"security.selinux", []byte("etc_t")}
	tr.Lookup("etc").Xattrs = []Xattr{{"user.note", nil}, label}
	old := tr.Lookup("etc/fstab")
	old.Mode, old.UID, old.Xattrs = TypeRegular|0o600, 7, []Xattr{{"user.own", nil}}
	for p, want := range map[string]Inode{
		"etc/fstab":          {Mode: TypeRegular | 0o600, UID: 7, Xattrs: []Xattr{{"user.own", nil}}},
		"etc/repart.d/x":     {Mode: TypeRegular | 0o640, Xattrs: []Xattr{label}},
		"boot/grub/grub.cfg": {Mode: TypeRegular | 0o640},
	} {
		if err := tr.Add(p, 0o640, []byte("new"), 42); err != nil {
			t.Fatal(err)
		}
		e := tr.Lookup(p)
		if e == nil || string(e.Data) != "new" || e.Mode != want.Mode || e.UID != want.UID || !reflect.DeepEqual(e.Xattrs, want.Xattrs) || e.Sec != 42 {
			t.Errorf("%s: %+v", p, e)
		}
	}
	for _, p := range []string{"file/x", "etc"} {
		if err := tr.Add(p, 0o644, nil, 0); err == nil {
			t.Errorf("add %s: no error", p)
		}
	}
	if b, err := os.ReadFile(filepath.Join(dir, "etc/fstab")); err != nil || string(b) != "etc/fstab" {
		t.Errorf("the host's file became %q, %v", b, err)
	}
}

func TestScanErrors(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "file")
	for _, p := range []string{"missing", "file"} {
		if _, err := Scan(filepath.Join(dir, p)); err == nil {
			t.Errorf("scan %s: no error", p)
		}
	}
}
