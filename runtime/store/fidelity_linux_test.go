package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"bake.build/bake/internal/need"

	"golang.org/x/sys/unix"

	"bake.build/bake/platforms"
)

func setLinkTime(path string, when time.Time) error {
	ts := unix.NsecToTimespec(when.UnixNano())
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// capability is the value of security.capability for cap_net_raw+ep.
var capability = []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// odd fills a directory with what only root can make.
func odd(dir string) (platforms.Made, error) {
	in := func(name string) string { return filepath.Join(dir, name) }
	err := tree(dir, map[string]string{"ping": "elf", "opaque/": "", "big": "x", "note": "x"})
	return platforms.Made{}, errors.Join(err,
		unix.Mknod(in("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		unix.Mknod(in("disk"), unix.S_IFBLK|0o660, int(unix.Mkdev(259, 70_000))),
		unix.Mknod(in("whiteout"), unix.S_IFCHR, 0),
		unix.Mkfifo(in("fifo"), 0o600),
		os.Lchown(in("big"), 4_000_000_000, 4_294_967_294),
		os.Chmod(in("big"), 0o755|os.ModeSetuid|os.ModeSetgid),
		unix.Lsetxattr(in("ping"), "security.capability", capability, 0),
		unix.Lsetxattr(in("opaque"), "trusted.overlay.opaque", []byte("y"), 0),
		unix.Lsetxattr(in("opaque"), "trusted.overlay.origin", []byte{1, 2}, 0),
		unix.Lsetxattr(in("note"), "user.note", bytes.Repeat([]byte("n"), 1000), 0),
		unix.Lsetxattr(in("note"), "user.empty", nil, 0),
	)
}

func TestFidelity(t *testing.T) {
	need.Root(t)
	s, _ := open(t, t.TempDir())
	e, _, err := s.Put(context.Background(), Meta{Key: key("a")}, nil, odd)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ReadManifest(e)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]File{}
	for _, f := range m.Files {
		f.MTime = Stamp{}
		files[f.Path] = f
	}
	want := map[string]File{
		"null":     {Type: Char, Mode: 0o644, Major: 1, Minor: 3},
		"disk":     {Type: Block, Mode: 0o640, Major: 259, Minor: 70_000},
		"whiteout": {Type: Char},
		"fifo":     {Type: Fifo, Mode: 0o600},
		"big":      {Type: Regular, Mode: 0o6755, UID: 4_000_000_000, GID: 4_294_967_294, Size: 1, Digest: sha256.Sum256([]byte("x"))},
		"ping":     {Type: Regular, Mode: 0o644, Size: 3, Digest: sha256.Sum256([]byte("elf")), Xattrs: []Xattr{{"security.capability", capability}}},
		"opaque":   {Type: Dir, Mode: 0o755, Xattrs: []Xattr{{"trusted.overlay.opaque", []byte("y")}}},
		"note": {Type: Regular, Mode: 0o644, Size: 1, Digest: sha256.Sum256([]byte("x")),
			Xattrs: []Xattr{{"user.empty", nil}, {"user.note", bytes.Repeat([]byte("n"), 1000)}}},
	}
	for path, w := range want {
		w.Path = path
		if got := files[path]; fmt.Sprint(got) != fmt.Sprint(w) {
			t.Errorf("%s:\ngot  %v\nwant %v", path, got, w)
		}
	}
	whole(t, s)
}

func TestDamageThatRootSees(t *testing.T) {
	need.Root(t)
	tests := map[string]func(dir string) error{
		"attribute changed": func(dir string) error {
			return unix.Lsetxattr(filepath.Join(dir, "note"), "user.empty", []byte("x"), 0)
		},
		"attribute added": func(dir string) error {
			return unix.Lsetxattr(filepath.Join(dir, "big"), "user.new", nil, 0)
		},
		"attribute of a directory": func(dir string) error {
			return unix.Lremovexattr(filepath.Join(dir, "opaque"), "trusted.overlay.opaque")
		},
		"capability removed": func(dir string) error {
			return unix.Lremovexattr(filepath.Join(dir, "ping"), "security.capability")
		},
		"owner":  func(dir string) error { return os.Lchown(filepath.Join(dir, "fifo"), 1, 1) },
		"device": func(dir string) error { return otherDevice(filepath.Join(dir, "null")) },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			first, _ := open(t, dir)
			e, _, err := first.Put(context.Background(), Meta{Key: key("a")}, nil, odd)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
			if err := change(e.Dir); err != nil {
				t.Fatal(err)
			}
			s, warned := open(t, dir)
			if _, err := s.Get(context.Background(), key("a")); !errors.Is(err, ErrMissing) {
				t.Errorf("get: %v; %s", err, warned())
			}
		})
	}
	t.Run("attribute that is not covered", func(t *testing.T) {
		dir := t.TempDir()
		first, _ := open(t, dir)
		e, _, err := first.Put(context.Background(), Meta{Key: key("a")}, nil, odd)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Lremovexattr(filepath.Join(e.Dir, "opaque"), "trusted.overlay.origin"); err != nil {
			t.Fatal(err)
		}
		s, warned := open(t, dir)
		if _, err := s.Get(context.Background(), key("a")); err != nil {
			t.Errorf("get: %v; %s", err, warned())
		}
	})
}

// otherDevice makes the file another device, with the times of the old one.
func otherDevice(path string) error {
	var file, dir unix.Stat_t
	return errors.Join(unix.Lstat(path, &file), unix.Stat(filepath.Dir(path), &dir), os.Remove(path),
		unix.Mknod(path, file.Mode, int(unix.Mkdev(1, 5))),
		unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{file.Mtim, file.Mtim}, 0),
		unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Dir(path), []unix.Timespec{dir.Mtim, dir.Mtim}, 0))
}

func TestSparse(t *testing.T) {
	content := make([]byte, 3<<20)
	copy(content[1<<20:], "in the middle")
	tests := map[string]func(path string) error{
		"written out": func(path string) error { return os.WriteFile(path, content, 0o644) },
		"with holes": func(path string) error {
			f, err := os.Create(path)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte("in the middle"), 1<<20)
			return errors.Join(err, f.Truncate(3<<20), f.Close())
		},
	}
	for name, make := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := make(filepath.Join(dir, "f")); err != nil {
				t.Fatal(err)
			}
			m, err := NewManifest(context.Background(), dir)
			if err != nil {
				t.Fatal(err)
			}
			if m.Files[1].Digest != sha256.Sum256(content) {
				t.Error("the digest is not that of the content")
			}
		})
	}
	t.Run("all hole", func(t *testing.T) {
		dir := t.TempDir()
		if err := errors.Join(os.WriteFile(filepath.Join(dir, "f"), nil, 0o644), os.Truncate(filepath.Join(dir, "f"), 100_000)); err != nil {
			t.Fatal(err)
		}
		m, err := NewManifest(context.Background(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if m.Files[1].Digest != sha256.Sum256(make([]byte, 100_000)) {
			t.Error("the digest is not that of the content")
		}
	})
}

func TestSyncMarks(t *testing.T) {
	s, _ := open(t, t.TempDir())
	e := put(t, s, "a", "", nil)
	mark := filepath.Join(filepath.Dir(e.Dir), durableName)
	if _, err := os.Stat(mark); err == nil {
		t.Error("a layer is durable before Sync")
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mark); err != nil {
		t.Error(err)
	}
	// Close brings forward the sync that a big layer is due.
	e, _, err := s.Put(context.Background(), Meta{Key: key("big")}, nil, func(dir string) (platforms.Made, error) {
		return platforms.Made{}, errors.Join(os.WriteFile(filepath.Join(dir, "f"), nil, 0o644), os.Truncate(filepath.Join(dir, "f"), bigLayer))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(e.Dir), durableName)); err != nil {
		t.Error(err)
	}
}

func TestRemoveTree(t *testing.T) {
	readOnly := func(dir string) error {
		return errors.Join(tree(dir, map[string]string{"a/b/c": "x", "closed/f": "x"}), os.Chmod(filepath.Join(dir, "closed"), 0),
			os.Chmod(filepath.Join(dir, "a/b"), 0o555), os.Chmod(filepath.Join(dir, "a"), 0o500), os.Chmod(dir, 0o500))
	}
	deep := func(dir string) error {
		for range 40 {
			// Twenty at a time, since a path has a limit.
			sub := filepath.Join(dir, "new")
			if err := os.MkdirAll(filepath.Join(sub, strings.Repeat("d/", 20)), 0o755); err != nil {
				return err
			}
			if err := os.Rename(filepath.Join(dir, "old"), filepath.Join(sub, strings.Repeat("d/", 20), "old")); err != nil && !os.IsNotExist(err) {
				return err
			}
			if err := os.Rename(sub, filepath.Join(dir, "old")); err != nil {
				return err
			}
		}
		return nil
	}
	tests := map[string]struct {
		root bool
		make func(dir string) error
	}{
		"read-only": {make: readOnly},
		"deep":      {make: deep},
		"immutable": {root: true, make: func(dir string) error {
			return errors.Join(tree(dir, map[string]string{"a/f": "x", "a/g/": ""}), immutable(filepath.Join(dir, "a/f")), immutable(filepath.Join(dir, "a")))
		}},
		"links and devices": {root: true, make: func(dir string) error {
			_, err := odd(dir)
			return errors.Join(err, os.Symlink("/", filepath.Join(dir, "root")))
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.root {
				need.Root(t)
			}
			dir := filepath.Join(t.TempDir(), "top")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := test.make(dir); err != nil {
				t.Fatal(err)
			}
			if err := removeTree(dir); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(dir); !os.IsNotExist(err) {
				t.Errorf("it is still there: %v", err)
			}
		})
	}
}

func immutable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0x10), f.Close())
}

// TestRemoveAsUser removes, as an ordinary user, what the user may remove.
func TestRemoveAsUser(t *testing.T) {
	need.Root(t)
	above, err := os.MkdirTemp("", "bake-store-") // t.TempDir is root's alone
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(above)
	dir := filepath.Join(above, "top")
	if err := errors.Join(os.Chmod(above, 0o711), tree(dir, map[string]string{"a/b/c": "x"})); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"a/b/c", "a/b", "a", "."} {
		if err := errors.Join(os.Lchown(filepath.Join(dir, path), 12345, 12345), os.Chmod(filepath.Join(dir, path), 0)); err != nil {
			t.Fatal(err)
		}
	}
	// The effective user of this thread alone: it is not used again.
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := actAs(12345); err != nil {
			done <- err
			return
		}
		err := removeTree(dir)
		var path *os.PathError
		if errors.As(err, &path) && path.Op == "remove" && path.Path == dir && errors.Is(err, os.ErrPermission) {
			err = nil // the directory above is not the user's
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestRemoveStopsAtMounts has a bind mount in what is removed, as a killed
// build could leave it.
func TestRemoveStopsAtMounts(t *testing.T) {
	need.Root(t)
	top, host := t.TempDir(), t.TempDir()
	if err := errors.Join(tree(top, map[string]string{"x/mnt/": ""}), tree(host, map[string]string{"precious/f": "x"})); err != nil {
		t.Fatal(err)
	}
	mnt := filepath.Join(top, "x/mnt")
	if err := unix.Mount(host, mnt, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(mnt, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	for _, path := range []string{filepath.Join(top, "x"), mnt} {
		if err := removeTree(path); err == nil || !strings.Contains(err.Error(), "mounted") {
			t.Errorf("remove %s: %v", path, err)
		}
	}
	if _, err := os.Stat(filepath.Join(host, "precious/f")); err != nil {
		t.Errorf("a file of the host was removed: %v", err)
	}
}

// TestCloseStopsAtMounts leaves a staging directory with a mount in it to a
// later Open, which says so until the mount is gone.
func TestCloseStopsAtMounts(t *testing.T) {
	need.Root(t)
	dir, host := t.TempDir(), t.TempDir()
	if err := tree(host, map[string]string{"precious/f": "x"}); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	tmp, _, err := s.TempDir("x")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(host, tmp, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err == nil {
		t.Error("close says nothing of the mount")
	}
	_, warned := open(t, dir)
	if w := warned(); !strings.Contains(w, "mounted") {
		t.Errorf("warned: %q", w)
	}
	if _, err := os.Stat(filepath.Join(host, "precious/f")); err != nil {
		t.Errorf("a file of the host was removed: %v", err)
	}
	mounts, err := filepath.Glob(filepath.Join(dir, trashName, "*/tmp-*"))
	if err != nil || len(mounts) != 1 {
		t.Fatal(mounts, err)
	}
	if err := unix.Unmount(mounts[0], 0); err != nil {
		t.Fatal(err)
	}
	last, warned := open(t, dir)
	clean(t, last)
	if w := warned(); w != "" {
		t.Errorf("warned: %q", w)
	}
}

func TestOtherIDMap(t *testing.T) {
	dir := t.TempDir()
	first, _ := open(t, dir)
	put(t, first, "a", "", map[string]string{"f": "x"})
	m := &checker{owners: false}
	got, want := File{UID: 1}, File{UID: 2}
	if differs(&got, &want, m.owners) != "" || differs(&got, &want, true) != "owner" {
		t.Error("owners are compared under another mapping, or not at all")
	}
	s, warned := open(t, dir)
	s.ids = "0 100000 65536"
	if err := os.Chmod(filepath.Join(s.layerDir(key("a")), "data/f"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(context.Background(), key("a")); err != nil {
		t.Fatalf("get: %v; %s", err, warned())
	}
	if _, ids := s.readFacts(s.layerDir(key("a")), 2); ids != first.ids {
		t.Errorf("facts are tied to the mapping %q", ids)
	}
}

// actAs changes the user of the calling thread alone.
func actAs(id int) error {
	_, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(id), uintptr(id), uintptr(id))
	if e != 0 {
		return e
	}
	return nil
}

// TestFullDisk has a store on a file system that a step fills.
func TestFullDisk(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	s, warned := open(t, dir)
	put(t, s, "small", "", map[string]string{"f": "x"})
	_, _, err := s.Put(context.Background(), Meta{Key: key("big")}, nil, func(dir string) (platforms.Made, error) {
		return platforms.Made{}, os.WriteFile(filepath.Join(dir, "f"), make([]byte, 4<<20), 0o644)
	})
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("put on a full disk: %v", err)
	}
	// Another program fills it: layers can be had all the same.
	if err := os.WriteFile(filepath.Join(dir, cacheName, "fill"), make([]byte, 4<<20), 0o644); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	if err := os.Truncate(filepath.Join(s.layerDir(key("small")), factsName), 0); err != nil {
		t.Fatal(err)
	}
	other, otherWarned := open(t, dir)
	if _, err := other.Get(context.Background(), key("small")); err != nil {
		t.Errorf("get on a full disk: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, cacheName, "fill")); err != nil {
		t.Fatal(err)
	}
	put(t, s, "big", "", map[string]string{"f": "x"})
	whole(t, s)
	t.Log(warned(), otherWarned())
}
