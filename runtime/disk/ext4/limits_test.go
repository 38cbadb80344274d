package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"bake.build/bake/internal/need"
	"bake.build/bake/runtime/disk/tree"
)

// names returns n entries of what one makes.
func names(n int, one func(i int) *tree.Entry) []*tree.Entry {
	list := make([]*tree.Entry, n)
	for i := range list {
		list[i] = one(i)
	}
	return list
}

// manyNames returns a directory with n names of one file.
func manyNames(n int) *tree.Entry {
	in := file("", tree.Inode{Links: n}).Inode
	return dir("d", names(n, func(i int) *tree.Entry {
		return &tree.Entry{Inode: in, Name: fmt.Sprintf("%06d", i)}
	})...)
}

// TestLimits has fsck look at trees that are large in one way.
func TestLimits(t *testing.T) {
	for what, c := range map[string]struct {
		size int64
		root []*tree.Entry
	}{
		"extents two levels deep": {64 << 20, []*tree.Entry{file("x", tree.Inode{Data: striped(6000)})}},
		"as many names as can be": {64 << 20, []*tree.Entry{manyNames(maxLinks)}},
		"long names": {256 << 20, []*tree.Entry{dir("d", names(20_000, func(i int) *tree.Entry {
			return file(fmt.Sprintf("%0255d", i), tree.Inode{})
		})...)}},
		"the least size":  {16 << 20, nil},
		"what fsck found": {16 << 20, []*tree.Entry{dir("lost+found", file("#123", tree.Inode{}))}},
		"many groups, uninit": {6 << 30, []*tree.Entry{dir("d", names(2000, func(i int) *tree.Entry {
			return file(fmt.Sprintf("%06d", i), tree.Inode{Data: []byte("x")})
		})...)}},
	} {
		t.Run(what, func(t *testing.T) {
			if _, err := makeImage(t, &tree.Tree{Root: dir("", c.root...)}, c.size); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestNearlyFull fills a file system more and more until nothing fits.
func TestNearlyFull(t *testing.T) {
	fits, full := 0, 0
	for n := range 12 {
		tr := &tree.Tree{Root: dir("",
			file("a", tree.Inode{Data: striped(100)}),
			file("b", tree.Inode{Data: bytes.Repeat([]byte("b"), 14<<20+(n*200)<<10)}))}
		var none *NoSpace
		switch _, err := makeImage(t, tr, 20<<20); {
		case err == nil:
			fits++
		case errors.As(err, &none):
			full++
		default:
			t.Fatal(err)
		}
	}
	if fits == 0 || full == 0 {
		t.Errorf("%d trees fitted and %d did not: the sizes miss the limit", fits, full)
	}
}

// TestHostConfiguration formats on a host whose mke2fs.conf says otherwise.
func TestHostConfiguration(t *testing.T) {
	need.Tool(t, "mke2fs")
	format := func() []byte {
		image := filepath.Join(t.TempDir(), "img")
		if err := os.WriteFile(image, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(image, 16<<20); err != nil {
			t.Fatal(err)
		}
		if err := Format(context.Background(), image, 0, 16<<20, options); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	plain := format()
	conf := filepath.Join(t.TempDir(), "mke2fs.conf")
	if err := os.WriteFile(conf, []byte("[defaults]\n\terrors = panic\n\thash_alg = tea\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MKE2FS_CONFIG", conf)
	if !bytes.Equal(plain, format()) {
		t.Error("the file system depends on the host's mke2fs.conf")
	}
}
