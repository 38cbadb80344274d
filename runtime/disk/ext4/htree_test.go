package ext4

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
	"bake.build/bake/runtime/disk/tree"
)

// runTool runs a program on the file system of an image.
func runTool(t *testing.T, path, name string, args ...string) string {
	t.Helper()
	need.Tool(t, name)
	tool, err := Tool(name)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tool, append(args, fmt.Sprintf("%s?offset=%d", path, offset))...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// TestHashes compares hashes of names with those of debugfs.
func TestHashes(t *testing.T) {
	need.Tool(t, "debugfs")
	tool, err := Tool("debugfs")
	if err != nil {
		t.Fatal(err)
	}
	uuid := options.HashSeed
	raw := []byte("\x11\x11\x11\x11\x22\x22\x43\x33\x84\x44\x55\x55\x55\x55\x55\x56")
	for _, name := range []string{"a", "passwd", "a-rather-long-name-that-takes-more-than-32-bytes", strings.Repeat("x", 255), strings.Repeat("y", 32)} {
		out, err := exec.Command(tool, "-R", fmt.Sprintf("dx_hash -h half_md4 -s %s %s", uuid, name)).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if want := fmt.Sprintf("is 0x%08x", seedOf(raw).hash(name)); !strings.Contains(string(out), want) {
			t.Errorf("%s: %s, debugfs says %s", name, want, out)
		}
	}
}

// largeDirectories has directories with an index, one of two levels.
func largeDirectories() *tree.Tree {
	in := func(n int, form string) []*tree.Entry {
		return names(n, func(i int) *tree.Entry { return file(fmt.Sprintf(form, i), tree.Inode{}) })
	}
	return &tree.Tree{Root: dir("",
		dir("dirs", names(maxLinks, func(i int) *tree.Entry { return dir(fmt.Sprintf("%06d", i)) })...),
		dir("limit", names(maxLinks-2, func(i int) *tree.Entry { return dir(fmt.Sprintf("%06d", i)) })...),
		dir("many", in(100_000, "a-name-of-usual-length-%06d")...),
		dir("signed", in(1000, "größe-%06d")...),
		dir("small", in(30, "%06d")...),
	)}
}

// TestLargeDirectories has e2fsck, debugfs and the kernel read directories with an
// index, and the kernel write to them.
func TestLargeDirectories(t *testing.T) {
	need.Slow(t)
	path, err := makeImage(t, largeDirectories(), 5<<30)
	if err != nil {
		t.Fatal(err)
	}
	debugfs := func(command string) string {
		t.Helper()
		return runTool(t, path, "debugfs", "-R", command)
	}
	for name, want := range map[string]string{"many": "Indirect levels: 1", "signed": "Indirect levels: 0"} {
		out := debugfs("htree_dump /" + name)
		if !strings.Contains(out, want) || !strings.Contains(out, "Hash Version: 1") || strings.Contains(out, "invalid") {
			t.Errorf("%s: %s\n%.600s", name, want, out)
		}
	}
	if out := debugfs("stat /small"); !strings.Contains(out, "Flags: 0x80000") {
		t.Errorf("a directory of one block has an index:\n%s", out)
	}
	for name, want := range map[string]string{"dirs": "Links: 1 ", "limit": "Links: 65000 "} {
		if out := debugfs("stat /" + name); !strings.Contains(out, want) {
			t.Errorf("%s: no %q in\n%s", name, want, out)
		}
	}
	need.Root(t)
	need.File(t, "/dev/loop-control")
	need.Tool(t, "unshare")
	// In the mounts of others the file system would stay mounted after its end here.
	script := exec.Command("unshare", "--mount", "sh", "-ec", useDirectories, "sh", path, t.TempDir(), fmt.Sprint(offset))
	if out, err := script.CombinedOutput(); err != nil {
		t.Fatalf("use the directories: %v\n%s", err, out)
	}
	runTool(t, path, "e2fsck", "-fn")
}

// useDirectories looks names up and makes more.
const useDirectories = `mount -t ext4 -o loop,offset="$3" "$1" "$2"
cd "$2"
test "$(ls -f many | wc -l)" = 100002
for i in $(seq -f %06.0f 0 97 99999); do test -f "many/a-name-of-usual-length-$i"; done
for i in $(seq -f %06.0f 0 999); do test -f "signed/größe-$i"; : >"many/one-more-$i"; done
mkdir dirs/a dirs/b limit/a limit/b small/a
cd /
umount "$2"`

// TestDirBlocksOnlyGrow adds names one by one.
func TestDirBlocksOnlyGrow(t *testing.T) {
	seed := Seed{1, 2, 3}
	var list []string
	last := uint64(1)
	for i := range 3000 {
		list = append(list, fmt.Sprintf("%0*d", 1+i%200, i))
		if i%7 != 0 {
			continue
		}
		n := seed.DirBlocks(list)
		if n < last {
			t.Fatalf("%d names take %d blocks, fewer take %d", len(list), n, last)
		}
		last = n
	}
	if last < 80 {
		t.Errorf("%d blocks", last)
	}
}

// TestEqualHashes fills a leaf with names of one hash, and more.
func TestEqualHashes(t *testing.T) {
	var equal []hashed
	for i := range 300 {
		equal = append(equal, hashed{dirent{name: fmt.Sprintf("%0100d", i)}, 0x1234})
	}
	got := divide(nil, equal, 0, hashBits)
	if len(got) < 8 || got[0].hash&collisionBit != 0 {
		t.Fatalf("%d leaves, the first at %#x", len(got), got[0].hash)
	}
	n := 0
	for i, l := range got {
		if n += len(l.names); !fits(l.names) || i > 0 && l.hash != got[0].hash|collisionBit {
			t.Errorf("leaf %d at %#x with %d names", i, l.hash, len(l.names))
		}
	}
	if n != len(equal) {
		t.Errorf("%d names", n)
	}
}

// TestSameChecksums changes identifiers and looks at what checksums begin with.
func TestSameChecksums(t *testing.T) {
	like := [16]byte{1, 2, 3, 0xff}
	seen := map[[16]byte]bool{}
	for i := range byte(200) {
		id := [16]byte{i, 9, 8, 7, 6, 5, 0x44, 3, 0x82}
		got := SameChecksums(id, like)
		if crc32c(^uint32(0), got[:]) != crc32c(^uint32(0), like[:]) || [12]byte(got[:12]) != [12]byte(id[:12]) || seen[got] {
			t.Errorf("%x gives %x", id, got)
		}
		seen[got] = true
	}
}

// TestTablesOfInodesAreHoles makes large file systems that hold nothing.
func TestTablesOfInodesAreHoles(t *testing.T) {
	need.Tool(t, "du")
	path, err := makeImage(t, &tree.Tree{Root: dir("")}, 300<<30)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("du", "-k", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	var kib int64
	if _, err := fmt.Sscan(string(out), &kib); err != nil || kib > 32<<10 {
		t.Errorf("300 GiB take %d KiB, %v", kib, err)
	}
	// The kernel writes tables in the first hours of a disk that are not marked.
	if out := runTool(t, path, "dumpe2fs"); strings.Count(out, "ITABLE_ZEROED") < 2000 || strings.Contains(out, "Flags: unsigned") {
		t.Errorf("%d groups are marked", strings.Count(out, "ITABLE_ZEROED"))
	}
}
