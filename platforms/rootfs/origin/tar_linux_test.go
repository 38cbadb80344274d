package origin

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
)

// tarOf returns an archive of files of the user who runs the test.
func tarOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		content := []byte(h.Linkname)
		if h.Typeflag == 0 || h.Typeflag == tar.TypeReg {
			h.Linkname, h.Size = "", int64(len(content))
		} else {
			content = nil
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if h.Typeflag == tar.TypeDir {
			h.Mode = 0o755
		}
		if h.Uid == 0 {
			h.Uid, h.Gid = os.Getuid(), os.Getgid()
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func pipe(t testing.TB, data []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func compress(t testing.TB, data []byte, w io.WriteCloser, buf *bytes.Buffer) []byte {
	t.Helper()
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gzipped(t testing.TB, data []byte) []byte {
	var buf bytes.Buffer
	return compress(t, data, gzip.NewWriter(&buf), &buf)
}

func zstded(t testing.TB, data []byte) []byte {
	var buf bytes.Buffer
	w, err := zstd.NewWriter(&buf)
	if err != nil {
		t.Fatal(err)
	}
	return compress(t, data, w, &buf)
}

func TestTarCompressions(t *testing.T) {
	need.Tool(t, "xz", "bzip2")
	plain := tarOf(t, tar.Header{Name: "./etc/", Typeflag: tar.TypeDir}, tar.Header{Name: "./etc/x", Linkname: "hello"})
	for name, data := range map[string][]byte{
		"plain": plain,
		"gzip":  gzipped(t, plain),
		"zstd":  zstded(t, plain),
		"xz":    pipe(t, plain, "xz", "-c"),
		"bzip2": pipe(t, plain, "bzip2", "-c"),
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			file := filepath.Join(h.dir, "a.tar")
			if err := os.WriteFile(file, data, 0o644); err != nil {
				t.Fatal(err)
			}
			o := originOf(t, "tar", Options{SHA256: strings.ToUpper(hexDigest(data))}, map[string]string{"tar": file})
			tree, _, err := importNew(t, o, h)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(filepath.Join(tree, "etc/x")); err != nil || string(got) != "hello" {
				t.Errorf("got %q, %v", got, err)
			}
			if name == "plain" {
				return
			}
			// Cut short, it is an error.
			if err := os.WriteFile(file, data[:len(data)-12], 0o644); err != nil {
				t.Fatal(err)
			}
			o = originOf(t, "tar", Options{}, map[string]string{"tar": file})
			if _, _, err := importNew(t, o, h); err == nil {
				t.Error("half an archive was imported")
			}
		})
	}
}

func TestTarRefuses(t *testing.T) {
	good := tarOf(t, tar.Header{Name: "x", Linkname: "hello"})
	for name, c := range map[string]struct {
		data   []byte
		sha256 string
		want   string
	}{
		"wrong digest": {good, strings.Repeat("ab", 32), "has the digest sha256:" + hexDigest(good) + ", wanted sha256:" + strings.Repeat("ab", 32)},
		"escape":       {tarOf(t, tar.Header{Name: "../x", Linkname: "hello"}), "", ".."},
		"no archive":   {[]byte(strings.Repeat("nonsense ", 100)), "", "tar"},
	} {
		h := newHost(t)
		file := filepath.Join(h.dir, "a.tar")
		if err := os.WriteFile(file, c.data, 0o644); err != nil {
			t.Fatal(err)
		}
		_, _, err := importNew(t, originOf(t, "tar", Options{SHA256: c.sha256}, map[string]string{"tar": file}), h)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestTarURL(t *testing.T) {
	a := newArchive(t)
	first, second := tarOf(t, tar.Header{Name: "x", Linkname: "1"}), tarOf(t, tar.Header{Name: "x", Linkname: "2"})
	a.set("/a.tar", first)
	h := newHost(t)
	loose := originOf(t, "tar", Options{Tar: a.URL + "/a.tar"}, nil)
	pinned, err := Pin(t.Context(), loose, h)
	if err != nil || pinned.Pin.ID != "sha256:"+hexDigest(first) {
		t.Fatalf("pin %+v, %v", pinned.Pin, err)
	}
	a.set("/a.tar", second)
	check := func(o platforms.Origin, want string) {
		t.Helper()
		tree, _, err := importNew(t, o, h)
		if err != nil {
			t.Error(err)
			return
		}
		if got, err := os.ReadFile(filepath.Join(tree, "x")); err != nil || string(got) != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	// What is pinned and cached is used, whatever the server has now.
	check(pinned, "1")
	if kept, err := Pin(t.Context(), pinned, h); err != nil || kept.Pin.ID != pinned.Pin.ID {
		t.Errorf("pin %+v, %v", kept.Pin, err)
	}
	if n := a.gets["/a.tar"]; n != 1 {
		t.Errorf("downloaded %d times", n)
	}
	moved, err := Pin(t.Context(), loose, h)
	if err != nil || moved.Pin.ID != "sha256:"+hexDigest(second) {
		t.Errorf("pin %+v, %v", moved.Pin, err)
	}
	// On another host the first one can no longer be had.
	other := newHost(t)
	if _, _, err := importNew(t, pinned, other); err == nil || !strings.Contains(err.Error(), hexDigest(second)) {
		t.Errorf("got %v", err)
	}
	if again, err := Pin(t.Context(), pinned, other); err != nil || again.Pin.ID != moved.Pin.ID {
		t.Errorf("pin %+v, %v", again.Pin, err)
	}
	// With a digest nothing is downloaded to pin it.
	given := originOf(t, "tar", Options{Tar: a.URL + "/a.tar", SHA256: hexDigest(first)}, nil)
	given, err = Pin(t.Context(), given, newHost(t))
	if err != nil || given.Pin.ID != pinned.Pin.ID {
		t.Errorf("pin %+v, %v", given.Pin, err)
	}
	if _, _, err := importNew(t, given, newHost(t)); err == nil || !strings.Contains(err.Error(), "wanted sha256:"+hexDigest(first)) {
		t.Errorf("got %v", err)
	}
	file := filepath.Join(h.dir, "b.tar")
	if err := os.WriteFile(file, second, 0o644); err != nil {
		t.Fatal(err)
	}
	check(originOf(t, "tar", Options{Tar: "file://" + file}, nil), "2")
	for _, url := range []string{a.URL + "/none.tar", "ftp://x/a.tar", "file:///nonexistent"} {
		if _, err := Pin(t.Context(), originOf(t, "tar", Options{Tar: url}, nil), h); err == nil {
			t.Errorf("%s was pinned", url)
		}
	}
	if _, err := Pin(t.Context(), originOf(t, "tar", Options{Tar: "ht tp://user:secret@x"}, nil), h); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
}

func TestScratch(t *testing.T) {
	tree, _, err := importNew(t, originOf(t, "scratch", Options{Scratch: true}, nil), newHost(t))
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(tree); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
}

// TestLayer copies a tree with one of everything.
func TestLayer(t *testing.T) {
	need.Root(t)
	h := newHost(t)
	from := filepath.Join(h.dir, "from")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(from, "dir"), 0o750))
	must(os.WriteFile(filepath.Join(from, "dir/ping"), []byte("x"), 0o755))
	must(os.Chown(filepath.Join(from, "dir/ping"), 3_000_000_000, 2_000_000_000))
	must(os.Chmod(filepath.Join(from, "dir/ping"), 0o4755|os.ModeSetuid))
	capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	must(unix.Setxattr(filepath.Join(from, "dir/ping"), "security.capability", []byte(capability), 0))
	must(os.Link(filepath.Join(from, "dir/ping"), filepath.Join(from, "hard")))
	must(os.Symlink("/nonexistent", filepath.Join(from, "link")))
	must(unix.Mknod(filepath.Join(from, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(os.WriteFile(filepath.Join(from, "sparse"), nil, 0o600))
	must(os.Truncate(filepath.Join(from, "sparse"), 64<<20))
	must(os.Chmod(from, 0o711))
	tree, _, err := importNew(t, originOf(t, "layer", Options{}, map[string]string{"layer": from}), h)
	must(err)
	var a, b, root, sparse, null unix.Stat_t
	must(unix.Lstat(filepath.Join(tree, "dir/ping"), &a))
	must(unix.Lstat(filepath.Join(tree, "hard"), &b))
	must(unix.Lstat(tree, &root))
	must(unix.Lstat(filepath.Join(tree, "sparse"), &sparse))
	must(unix.Lstat(filepath.Join(tree, "null"), &null))
	if a.Ino != b.Ino || a.Uid != 3_000_000_000 || a.Gid != 2_000_000_000 || a.Mode&0o7777 != 0o4755 {
		t.Errorf("ping: %+v, hard: %+v", a, b)
	}
	if root.Mode&0o7777 != 0o711 || sparse.Blocks > 64 || null.Rdev != unix.Mkdev(1, 3) {
		t.Errorf("root %o, sparse %d blocks, null %x", root.Mode, sparse.Blocks, null.Rdev)
	}
	value := make([]byte, 64)
	if n, err := unix.Getxattr(filepath.Join(tree, "dir/ping"), "security.capability", value); err != nil || string(value[:n]) != capability {
		t.Errorf("capability %q, %v", value[:max(n, 0)], err)
	}
	if _, _, err := importNew(t, originOf(t, "layer", Options{}, map[string]string{"layer": from + "/none"}), h); err == nil {
		t.Error("a missing layer was copied")
	}
}
