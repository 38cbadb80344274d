package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
)

// TestDamagedInode damages one inode of an ext4 that holds a store, so that the
// kernel answers EBADMSG for that file: the layer is damaged, and nothing else.
func TestDamagedInode(t *testing.T) {
	need.Root(t)
	need.Tool(t, "mke2fs", "debugfs", "mount", "umount")
	for name, file := range map[string]string{
		"file": "data/etc/conf", "directory": "data/etc", "record": metaName, "manifest": manifestName, "facts": factsName, "root": dataName,
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t)
			s, _ := open(t, d.dir)
			put(t, s, "sound", "", map[string]string{"f": "x"})
			put(t, s, "bad", "", map[string]string{"etc/conf": "x", "other": "y"})
			d.damage(t, filepath.Join(s.layerDir(key("bad")), file), s)

			s, warned := open(t, d.dir)
			if u, err := s.Usage(context.Background()); err != nil || u.Layers == 0 {
				t.Errorf("usage: %+v, %v", u, err)
			}
			if _, err := s.List(); err != nil {
				t.Errorf("list: %v", err)
			}
			if _, err := s.Prune(context.Background(), PruneOptions{MaxSize: 1 << 40}); err != nil {
				t.Errorf("prune: %v", err)
			}
			if name == "facts" { // they are only a way to be quick
				if _, err := s.Get(context.Background(), key("bad")); err != nil {
					t.Errorf("get: %v", err)
				}
				return
			}
			var bad []string
			err := s.Verify(context.Background(), false, func(e Entry, err error) {
				if errors.Is(err, ErrDamaged) {
					bad = append(bad, e.Key.String())
				}
			})
			if err != nil || len(bad) != 1 || bad[0] != key("bad").String() {
				t.Errorf("verify: %v, %v", bad, err)
			}
			if !strings.Contains(warned(), "dropped and will be built again") {
				t.Errorf("warned: %s", warned())
			}
			if _, err := s.Get(context.Background(), key("bad")); !errors.Is(err, ErrMissing) {
				t.Errorf("get: %v", err)
			}
			put(t, s, "bad", "", map[string]string{"etc/conf": "x"})
			if _, err := s.Get(context.Background(), key("sound")); err != nil {
				t.Errorf("the sound layer: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A disk is an ext4 in a file, mounted.
type disk struct{ image, dir string }

func newDisk(t *testing.T) disk {
	t.Helper()
	d := disk{filepath.Join(t.TempDir(), "image"), t.TempDir()}
	command(t, "mke2fs", "-q", "-t", "ext4", "-O", "metadata_csum,^has_journal", "-E", "nodiscard", d.image, "8M")
	d.mount(t)
	if err := os.Remove(filepath.Join(d.dir, "lost+found")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { command(t, "umount", "-l", d.dir) })
	return d
}

func (d disk) mount(t *testing.T) {
	t.Helper()
	command(t, "mount", "-o", "loop", d.image, d.dir)
}

// damage closes the store and changes the inode of path behind the kernel's
// back.
func (d disk) damage(t *testing.T, path string, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	st, err := lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	command(t, "umount", d.dir)
	var block, offset int64
	said := command(t, "debugfs", "-R", fmt.Sprintf("imap <%d>", st.ino), d.image)
	if _, err := fmt.Sscanf(said[strings.Index(said, "located at"):], "located at block %d, offset 0x%x", &block, &offset); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	// A copy, since the kernel may still hold blocks of the image that was mounted.
	b, err := os.ReadFile(d.image)
	if err != nil {
		t.Fatal(err)
	}
	const size, owner = 1024, 2 // of a block; where an inode has its owner
	b[block*size+offset+owner] ^= 0x77
	d.image += "-damaged"
	if err := os.WriteFile(d.image, b, 0o600); err != nil {
		t.Fatal(err)
	}
	d.mount(t)
}

func command(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
	return string(out)
}
