package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bake.build/bake/internal/need"
	"bake.build/bake/runtime/disk/tree"
)

const offset = 3 << 20

var options = Options{
	UUID:     "11111111-2222-4333-8444-555555555555",
	HashSeed: "11111111-2222-4333-8444-555555555556",
	Label:    "test", Epoch: time.Unix(1700000000, 0),
}

// makeImage formats and fills an image and has fsck look at it.
func makeImage(t *testing.T, tr *tree.Tree, size int64) (string, error) {
	t.Helper()
	need.Tool(t, "mke2fs")
	need.Tool(t, "e2fsck")
	path := filepath.Join(t.TempDir(), "img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(offset + size); err != nil {
		t.Fatal(err)
	}
	o := options
	o.Inodes = tr.Usage().Inodes + 100
	if err := Format(context.Background(), path, offset, size, o); err != nil {
		t.Fatal(err)
	}
	if err := Populate(context.Background(), f, offset, tr, nil, nil); err != nil {
		return "", err
	}
	tool, err := Tool("e2fsck")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tool, "-fn", fmt.Sprintf("%s?offset=%d", path, offset)).CombinedOutput()
	if err != nil {
		t.Fatalf("e2fsck: %v\n%s", err, out)
	}
	return path, nil
}

func file(name string, in tree.Inode) *tree.Entry {
	if in.Type() == 0 {
		in.Mode |= tree.TypeRegular | 0o644
	}
	if in.Links == 0 {
		in.Links = 1
	}
	in.Size = max(in.Size, int64(len(in.Data)))
	in.Stored = in.Size
	return &tree.Entry{Inode: &in, Name: name}
}

func dir(name string, children ...*tree.Entry) *tree.Entry {
	return &tree.Entry{Inode: &tree.Inode{Mode: tree.TypeDir | 0o755, Links: 1, Sec: 1}, Name: name, Children: children}
}

// striped returns data whose every other block is zeros.
func striped(blocks int) []byte {
	b := make([]byte, blocks*blockSize)
	for i := 0; i < blocks; i += 2 {
		b[i*blockSize] = byte(i) | 1
	}
	return b
}

func acl(entries ...[3]uint32) []byte {
	b := le.AppendUint32(nil, 2)
	for _, e := range entries {
		b = le.AppendUint16(b, uint16(e[0]))
		b = le.AppendUint16(b, uint16(e[1]))
		b = le.AppendUint32(b, e[2])
	}
	return b
}

// oddTree holds one of everything that has a form of its own on disk.
func oddTree() *tree.Tree {
	shared := file("link-a", tree.Inode{Data: []byte("shared"), Links: 2})
	var many []*tree.Entry
	for i := range 3000 {
		many = append(many, file(fmt.Sprintf("a-rather-long-name-to-fill-blocks-%06d", i), tree.Inode{}))
	}
	var subdirs []*tree.Entry
	for i := range 100 {
		subdirs = append(subdirs, dir(fmt.Sprintf("d%03d", i)))
	}
	const none = 0xffffffff
	return &tree.Tree{Root: dir("",
		file("4-extents", tree.Inode{Data: striped(8)}),
		file("5-extents", tree.Inode{Data: striped(10)}),
		file("700-extents", tree.Inode{Data: striped(1400)}),
		file("acl", tree.Inode{Xattrs: []tree.Xattr{{
			Name: "system.posix_acl_access", Value: acl([3]uint32{1, 6, none}, [3]uint32{2, 4, 1000}, [3]uint32{4, 4, none}, [3]uint32{0x10, 4, none}, [3]uint32{0x20, 4, none}),
		}}}),
		file("big-xattr", tree.Inode{Xattrs: []tree.Xattr{
			{Name: "security.capability", Value: []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")},
			{Name: "trusted.t", Value: []byte("tt")},
			{Name: "user.empty"},
			{Name: "user.large", Value: bytes.Repeat([]byte("x"), 3000)},
		}}),
		file("capability", tree.Inode{Xattrs: []tree.Xattr{{Name: "security.capability", Value: []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")}}}),
		file("char", tree.Inode{Mode: tree.TypeChar | 0o600, Major: 5, Minor: 1}),
		file("char-large", tree.Inode{Mode: tree.TypeChar | 0o600, Major: 300, Minor: 70000}),
		file("empty", tree.Inode{}),
		file("fifo", tree.Inode{Mode: tree.TypePipe | 0o600}),
		file("future", tree.Inode{Sec: 1 << 33, Nsec: 123456789}),
		shared,
		&tree.Entry{Inode: shared.Inode, Name: "link-b"},
		dir("many", many...),
		file("odd-size", tree.Inode{Data: bytes.Repeat([]byte("odd"), 12345)}),
		file("owner", tree.Inode{UID: 3000000000, GID: 100000, Mode: tree.TypeRegular | 0o6755}),
		file("past", tree.Inode{Sec: -86400}),
		file("socket", tree.Inode{Mode: tree.TypeSocket | 0o755}),
		dir("subdirs", subdirs...),
		file("symlink", tree.Inode{Mode: tree.TypeSymlink | 0o777, Target: "empty"}),
		file("symlink-59", tree.Inode{Mode: tree.TypeSymlink | 0o777, Target: strings.Repeat("a", 59)}),
		file("symlink-60", tree.Inode{Mode: tree.TypeSymlink | 0o777, Target: strings.Repeat("b", 60)}),
		file("symlink-long", tree.Inode{Mode: tree.TypeSymlink | 0o777, Target: strings.Repeat("c", 4000)}),
		file("zeros", tree.Inode{Data: make([]byte, 1<<20)}),
	)}
}

func TestPopulate(t *testing.T) {
	path, err := makeImage(t, oddTree(), 256<<20)
	if err != nil {
		t.Fatal(err)
	}
	again, err := makeImage(t, oddTree(), 256<<20)
	if err != nil {
		t.Fatal(err)
	}
	a, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(again)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("one tree gave two images")
	}
}

// TestKernelReads mounts an image and compares what the kernel sees with what
// was written.
func TestKernelReads(t *testing.T) {
	need.Root(t)
	need.File(t, "/dev/loop-control")
	want := oddTree()
	path, err := makeImage(t, want, 256<<20)
	if err != nil {
		t.Fatal(err)
	}
	mnt := t.TempDir()
	if out, err := exec.Command("mount", "-t", "ext4", "-o", fmt.Sprintf("ro,loop,offset=%d", offset), path, mnt).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v\n%s", err, out)
	}
	defer func() {
		if out, err := exec.Command("umount", mnt).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	}()
	got, err := tree.Scan(mnt)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	err = want.Walk(func(p string, w *tree.Entry) error {
		count++
		g := got.Lookup(p)
		if g == nil {
			t.Errorf("%s is missing", p)
			return nil
		}
		compare(t, p, got, g, w)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	names := 0
	if err := got.Walk(func(string, *tree.Entry) error { names++; return nil }); err != nil {
		t.Fatal(err)
	}
	if names != count+1 { // lost+found
		t.Errorf("the kernel sees %d names, want %d", names, count+1)
	}
}

func compare(t *testing.T, p string, gt *tree.Tree, g, w *tree.Entry) {
	t.Helper()
	if g.Mode != w.Mode && !strings.Contains(p, "acl") || g.UID != w.UID || g.GID != w.GID || g.Sec != w.Sec || g.Nsec != w.Nsec ||
		g.Target != w.Target || g.Major != w.Major || g.Minor != w.Minor || g.Links != w.Links || g.Size != w.Size {
		t.Errorf("%s:\n got %+v\nwant %+v", p, g.Inode, w.Inode)
	}
	if fmt.Sprint(g.Xattrs) != fmt.Sprint(w.Xattrs) {
		t.Errorf("%s: extended attributes %q, want %q", p, g.Xattrs, w.Xattrs)
	}
	if !w.IsRegular() {
		return
	}
	data, err := os.ReadFile(filepath.Join(gt.Dir, p))
	if err != nil || !bytes.Equal(data, w.Data) {
		t.Errorf("%s: content differs (%d bytes, want %d), %v", p, len(data), len(w.Data), err)
	}
	if p == "zeros" && g.Stored != 0 {
		t.Errorf("%s: zeros take %d bytes", p, g.Stored)
	}
}

// TestRandomTrees fills file systems of several sizes with random trees; fsck
// is the judge.
func TestRandomTrees(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			noise := bytes.Repeat([]byte("noise"), 4000)
			var build func(depth int) []*tree.Entry
			build = func(depth int) []*tree.Entry {
				var list []*tree.Entry
				for i := range rnd.IntN(60) {
					name := fmt.Sprintf("%03d%s", i, strings.Repeat("n", rnd.IntN(200)))
					if depth > 0 && rnd.IntN(6) == 0 {
						list = append(list, dir(name, build(depth-1)...))
						continue
					}
					data := make([]byte, rnd.IntN(1<<uint(rnd.IntN(18))+1))
					// Runs of zeros and of other bytes, with ends anywhere.
					for at := 0; at < len(data); at += 1 + rnd.IntN(20_000) {
						if rnd.IntN(2) == 0 {
							copy(data[at:], noise[:min(len(noise), rnd.IntN(len(data)-at)+1)])
						}
					}
					in := tree.Inode{Data: data, UID: rnd.Uint32(), Sec: int64(rnd.Uint32())}
					if rnd.IntN(3) == 0 {
						in.Xattrs = []tree.Xattr{{Name: "user.x", Value: data[:min(len(data), rnd.IntN(3000))]}}
					}
					list = append(list, file(name, in))
				}
				return list
			}
			tr := &tree.Tree{Root: dir("", build(3)...)}
			size := max((64<<20)<<seed, 2*Need(tr)) + int64(rnd.IntN(1000))*blockSize
			if _, err := makeImage(t, tr, size); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestSparseHostFile(t *testing.T) {
	src := t.TempDir()
	f, err := os.Create(filepath.Join(src, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, 5<<20 + 17, 1 << 40} {
		if _, err := f.WriteAt([]byte("data"), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	tr, err := tree.Scan(src)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("needs Linux: file trees are read there only")
	} else if err != nil {
		t.Fatal(err)
	}
	if _, err := makeImage(t, tr, 64<<20); err != nil {
		t.Fatal(err)
	}
}

func TestNoSpace(t *testing.T) {
	tr := &tree.Tree{Root: dir("", file("big", tree.Inode{Data: bytes.Repeat([]byte("x"), 80<<20)}))}
	_, err := makeImage(t, tr, 64<<20)
	var full *NoSpace
	if !errors.As(err, &full) || full.Need < 80<<20 || full.Have > 64<<20 {
		t.Errorf("error %v", err)
	}
}

func TestErrors(t *testing.T) {
	for name, e := range map[string]*tree.Entry{
		"too large":   file("x", tree.Inode{Xattrs: []tree.Xattr{{Name: "user.x", Value: make([]byte, 5000)}}}),
		"no place":    file("x", tree.Inode{Xattrs: []tree.Xattr{{Name: "odd.x", Value: []byte("1")}}}),
		"bad acl":     file("x", tree.Inode{Xattrs: []tree.Xattr{{Name: "system.posix_acl_access", Value: []byte("1")}}}),
		"name length": file(strings.Repeat("x", 256), tree.Inode{}),
		"reserved":    file("lost+found", tree.Inode{}),
		"names":       manyNames(maxLinks + 1),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := makeImage(t, &tree.Tree{Root: dir("", e)}, 64<<20); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestExtentBlocks(t *testing.T) {
	for n, want := range map[int]int{0: 0, 4: 0, 5: 1, 340: 1, 341: 2, 1360: 4, 1361: 5 + 1} {
		if got := extentBlocks(n); got != want {
			t.Errorf("extentBlocks(%d) = %d, want %d", n, got, want)
		}
	}
}
