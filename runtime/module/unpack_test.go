package module

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"bake.build/bake/internal/need"
	"bake.build/bake/starlark/module"
)

// An evil is an archive's entry, and what is said of an archive with it.
type evil struct {
	entries []tar.Header // behind bake.mod
	want    string
}

func reg(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644} }

func symlink(name, target string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}
}

// evils are what who wants to write elsewhere, or to fill or confuse a machine, puts
// into an archive.
var evils = map[string]evil{
	"parent":                   {[]tar.Header{reg("../evil")}, "leads elsewhere"},
	"parent within":            {[]tar.Header{reg("a/../../evil")}, "leads elsewhere"},
	"parent, Windows":          {[]tar.Header{reg(`..\evil`)}, "Windows does not take"},
	"absolute":                 {[]tar.Header{reg("/etc/evil")}, "empty element"},
	"drive":                    {[]tar.Header{reg("C:/evil")}, "Windows does not take"},
	"stream":                   {[]tar.Header{reg("a:evil")}, "Windows does not take"},
	"dot":                      {[]tar.Header{reg("a/./b")}, "leads elsewhere"},
	"double slash":             {[]tar.Header{reg("a//b")}, "empty element"},
	"link out":                 {[]tar.Header{symlink("a", "../evil")}, "leads out"},
	"link out, absolute":       {[]tar.Header{symlink("a", "/etc/passwd")}, "leads out"},
	"link out, drive":          {[]tar.Header{symlink("a", "c:/x")}, "leads out"},
	"link out, backslash":      {[]tar.Header{symlink("a", `..\..\evil`)}, "with slashes"},
	"link out by a link":       {[]tar.Header{symlink("d/up", ".."), symlink("e", "d/up/../evil")}, "leads out"},
	"link out by three links":  {[]tar.Header{symlink("a", "b/.."), symlink("b", "c"), symlink("c", "."), symlink("d", "a/x")}, "leads out"},
	"link in a circle":         {[]tar.Header{symlink("a", "b"), symlink("b", "a")}, "circle"},
	"link, empty":              {[]tar.Header{symlink("a", "")}, "no target"},
	"through a link":           {[]tar.Header{symlink("d", "."), reg("d/evil")}, "is not a directory"},
	"through a link, later":    {[]tar.Header{reg("d/a"), symlink("d", "/tmp")}, "directory and a file"},
	"file over a link":         {[]tar.Header{symlink("a", "bake.mod"), reg("a")}, "there twice"},
	"hard link out":            {[]tar.Header{{Name: "a", Typeflag: tar.TypeLink, Linkname: "../../etc/passwd"}}, "comes before it"},
	"hard link, absolute":      {[]tar.Header{{Name: "a", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}}, "comes before it"},
	"hard link to a link":      {[]tar.Header{symlink("l", "bake.mod"), {Name: "a", Typeflag: tar.TypeLink, Linkname: "l"}}, "comes before it"},
	"twice":                    {[]tar.Header{reg("a"), reg("a")}, "there twice"},
	"twice, bake.mod":          {[]tar.Header{reg("bake.mod")}, "there twice"},
	"case":                     {[]tar.Header{reg("lib/a.star"), reg("lib/A.star")}, "differ in case alone"},
	"case of a directory":      {[]tar.Header{reg("lib/a"), reg("Lib/b")}, "differ in case alone"},
	"case, Greek":              {[]tar.Header{reg("σ"), reg("ς")}, "differ in case alone"},
	"case, Kelvin":             {[]tar.Header{reg("k"), reg("\u212a")}, "differ in case alone"},
	"case, a file's directory": {[]tar.Header{reg("a/b"), reg("A")}, "differ in case alone"},
	"file and directory":       {[]tar.Header{reg("a"), reg("a/b")}, "is not a directory"},
	"directory and file":       {[]tar.Header{reg("a/b"), reg("a")}, "directory and a file"},
	"decomposed":               {[]tar.Header{reg("u\u0308")}, "macOS joins"},
	"Hangul":                   {[]tar.Header{reg("\u1112\u1161\u11ab")}, "macOS joins"},
	"not UTF-8":                {[]tar.Header{reg("a\xff")}, "not UTF-8"},
	"escape":                   {[]tar.Header{reg("a\x1b[2J")}, "is not seen"},
	"newline":                  {[]tar.Header{reg("a\nf 00 b")}, "is not seen"},
	"direction":                {[]tar.Header{reg("a\u202egpj.star")}, "is not seen"},
	"device name":              {[]tar.Header{reg("lib/CON")}, "device on Windows"},
	"device with extension":    {[]tar.Header{reg("nul.star")}, "device on Windows"},
	"device, superscript":      {[]tar.Header{reg("com¹.star")}, "device on Windows"},
	"dot at the end":           {[]tar.Header{reg("a.")}, "Windows drops"},
	"space at the end":         {[]tar.Header{reg("d /a")}, "Windows drops"},
	"long name":                {[]tar.Header{reg(strings.Repeat("a", 256))}, "more than 255"},
	"long path":                {[]tar.Header{reg(strings.Repeat("abcdefghi/", 60) + "a")}, "more than 500"},
	"character device":         {[]tar.Header{{Name: "a", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}}, "it is a device"},
	"block device":             {[]tar.Header{{Name: "a", Typeflag: tar.TypeBlock, Devmajor: 8}}, "it is a device"},
	"pipe":                     {[]tar.Header{{Name: "a", Typeflag: tar.TypeFifo}}, "it is a pipe"},
}

// archiveOf writes bake.mod and what follows it.
func (e evil) tar(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	mod := "module(\"a.example/b\")\n"
	h := reg(module.FileName)
	h.Size = int64(len(mod))
	if err := w.WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, mod); err != nil {
		t.Fatal(err)
	}
	for _, h := range e.entries {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// zip writes the same as a zip, which has no hard links.
func (e evil) zip(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, entry := range append([]tar.Header{reg(module.FileName)}, e.entries...) {
		h := &zip.FileHeader{Name: entry.Name}
		h.SetMode(entry.FileInfo().Mode())
		if entry.Typeflag == tar.TypeLink {
			return nil
		}
		f, err := w.CreateHeader(h)
		if err == nil && entry.Linkname != "" {
			_, err = io.WriteString(f, entry.Linkname)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// unpackInto unpacks bytes into dir, which is made.
func unpackInto(t testing.TB, dir string, b []byte, limit int64) (string, module.Digest, error) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(dir + ".archive")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	w, err := newWriter(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	w.maxBytes, w.maxFiles = limit, 1000
	if err := unpack(t.Context(), w, f); err != nil {
		return "", "", err
	}
	return w.finish()
}

// TestEvilArchives unpacks each of them, as tar and zip: all are refused, and nothing is
// written outside of the directory.
func TestEvilArchives(t *testing.T) {
	for name, e := range evils {
		for kind, b := range map[string][]byte{"tar": e.tar(t), "zip": e.zip(t)} {
			if b == nil {
				continue
			}
			t.Run(name+"/"+kind, func(t *testing.T) {
				top := t.TempDir()
				_, _, err := unpackInto(t, filepath.Join(top, "b"), b, maxBytes)
				if err == nil || !strings.Contains(err.Error(), e.want) {
					t.Errorf("error %v, want %q", err, e.want)
				}
				onlyIn(t, top, "b", "b.archive")
			})
		}
	}
}

// onlyIn fails where there is anything else in dir than the names given.
func onlyIn(t testing.TB, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.Contains(" "+strings.Join(names, " ")+" ", " "+e.Name()+" ") {
			t.Errorf("%s was written beside the directory", e.Name())
		}
	}
}

// TestHuge unpacks what is far larger than its archive.
func TestHuge(t *testing.T) {
	const limit = 1 << 20
	big := reg("big")
	big.Size = 1 << 40
	var sparse bytes.Buffer
	w := tar.NewWriter(&sparse)
	if err := w.WriteHeader(&big); err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 8<<20)
	ignored := tarOf(t, "", map[string]string{"bake.mod": "", ".git/a": string(zeros), ".git/b": string(zeros)})
	many := map[string]string{"bake.mod": ""}
	for i := range 1000 {
		many[fmt.Sprint(i)] = ""
	}
	var z bytes.Buffer
	zw, err := zstd.NewWriter(&z)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := zw.Write(tarOf(t, "", map[string]string{"bake.mod": "", "big": string(zeros)})); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"gzip":             {gzipped(t, tarOf(t, "", map[string]string{"bake.mod": "", "big": string(zeros)})), "more than 1048576 bytes"},
		"zstd":             {z.Bytes(), "more than 1048576 bytes"},
		"zip":              {zipOf(t, map[string]string{"bake.mod": "", "big": string(zeros)}), "more than 1048576 bytes"},
		"what is not kept": {gzipped(t, ignored), "made to fill a disk"},
		"tar's header":     {append(sparse.Bytes(), 1), "unexpected EOF"},
		"many":             {gzipped(t, tarOf(t, "", many)), "more than 1000 files"},
		"many, zip":        {zipOf(t, many), "more than 1000 files"},
	} {
		dir := filepath.Join(t.TempDir(), "d")
		if _, _, err := unpackInto(t, dir, c.b, limit); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
}

// TestBroken cuts archives off, and damages them.
func TestBroken(t *testing.T) {
	plain := tarOf(t, "", golden)
	for name, b := range map[string][]byte{"gzip": gzipped(t, plain), "zip": zipOf(t, golden), "tar": plain} {
		for _, n := range []int{0, 1, 3, 512, 1024, len(b) / 2, len(b) - 1024, len(b) - 1} {
			if n = min(n, len(b)-1); n < 0 {
				continue
			}
			if _, _, err := unpackInto(t, filepath.Join(t.TempDir(), "d"), b[:n], maxBytes); err == nil {
				t.Errorf("%s: %d of %d bytes were taken", name, n, len(b))
			}
		}
	}
	b := gzipped(t, plain)
	b[len(b)-6] ^= 1 // of the checksum at the end
	if _, _, err := unpackInto(t, filepath.Join(t.TempDir(), "d"), b, maxBytes); !errors.Is(err, gzip.ErrChecksum) {
		t.Errorf("gzip with another checksum: %v", err)
	}
}

// TestForeignArchives unpacks what other programs make of one tree: all give the digest
// of the folder, and so does sha256sum.
func TestForeignArchives(t *testing.T) {
	need.Tool(t, "tar", "bsdtar", "zip", "python3", "zstd", "bash")
	top := t.TempDir()
	src := writeDir(t, filepath.Join(top, "golden-1.4"), golden)
	if err := os.Link(filepath.Join(src, "golden.star"), filepath.Join(src, "linked.star")); err != nil {
		t.Fatal(err)
	}
	want := digestOfDir(t, src)
	byHand := strings.TrimSpace(string(run(t, "bash", "-c", `cd "$0" && export LC_ALL=C && {
		echo "bake module tree 1"
		find . ! -type d -printf '%P\n' | sort | while IFS= read -r p; do
			if [ -L "$p" ]; then printf 'l %s %s\n' "$(printf %s "$(readlink "$p")" | sha256sum | cut -d' ' -f1)" "$p"
			else [ -x "$p" ] && k=x || k=f; printf '%s %s %s\n' $k "$(sha256sum < "$p" | cut -d' ' -f1)" "$p"; fi
		done; } | sha256sum | cut -d' ' -f1`, src)))
	if got := "sha256:" + byHand; got != string(want) {
		t.Errorf("by sha256sum %s, want %s", got, want)
	}
	for name, command := range map[string]string{
		"gnu.tar":     `tar -cf "$0" golden-1.4`,
		"pax.tar.gz":  `tar --format=pax -czf "$0" golden-1.4`,
		"v7.tar.zst":  `tar --format=ustar --zstd -cf "$0" golden-1.4`,
		"dot.tgz":     `tar -C golden-1.4 -czf "$0" .`,
		"bsd.tar":     `bsdtar -cf "$0" golden-1.4`,
		"bsdustar.gz": `bsdtar --format=ustar -czf "$0" golden-1.4`,
		"bsd.zip":     `bsdtar --format=zip -cf "$0" golden-1.4`,
		"info.zip":    `zip -qry "$0" golden-1.4`,
		"flat.zip":    `cd golden-1.4 && zip -qry "$0" .`,
		"stored.zip":  `zip -qry0 "$0" golden-1.4`,
		"python.tar":  `python3 -c 'import sys, tarfile; t = tarfile.open(sys.argv[1], "w"); t.add("golden-1.4"); t.close()' "$0"`,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name)
			run(t, "bash", "-c", `cd "$1" && `+command, path, top)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			dir, got, err := unpackInto(t, filepath.Join(t.TempDir(), "d"), b, maxBytes)
			if err != nil || got != want {
				t.Fatalf("digest %s, %v; want %s", got, err, want)
			}
			if again := digestOfDir(t, dir); again != want {
				t.Errorf("on the disk: %s, want %s", again, want)
			}
		})
	}
	// Python's zipfile follows links, so that it is another tree; and its files are there.
	path := filepath.Join(t.TempDir(), "p.zip")
	run(t, "bash", "-c", `cd "$1" && python3 -m zipfile -c "$0" golden-1.4`, path, top)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir, _, err := unpackInto(t, filepath.Join(t.TempDir(), "d"), b, maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "files/etc/issue")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("motd", filepath.Join(dir, "files/etc/issue")); err != nil {
		t.Fatal(err)
	}
	if got := digestOfDir(t, dir); got != want {
		t.Errorf("python3 -m zipfile: %s, want %s", got, want)
	}
}

// TestPermissions has a strict umask: permissions are inputs of keys.
func TestPermissions(t *testing.T) {
	dir, _, err := unpackInto(t, filepath.Join(t.TempDir(), "d"), tarOf(t, "", golden), maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"lib": fs.ModeDir | 0o755, "golden.star": 0o644, "files/run.sh": 0o755} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
}

// FuzzUnpack unpacks anything. Whatever is taken is a tree that reads back as itself;
// and nothing is written beside its directory.
func FuzzUnpack(f *testing.F) {
	t := &testing.T{}
	for _, e := range evils {
		f.Add(e.tar(t))
		if z := e.zip(t); z != nil {
			f.Add(z)
		}
	}
	f.Add(tarOf(t, "", golden))
	f.Add(gzipped(t, tarOf(t, "top/", golden)))
	f.Add(zipOf(t, golden))
	f.Fuzz(func(t *testing.T, b []byte) {
		top := t.TempDir()
		dir, want, err := unpackInto(t, filepath.Join(top, "d"), b, 1<<20)
		onlyIn(t, top, "d", "d.archive")
		if err != nil {
			return
		}
		if got, err := Verify(t.Context(), dir); err != nil || got != want {
			t.Errorf("unpacked as %s, and read back as %s, %v", want, got, err)
		}
	})
}
