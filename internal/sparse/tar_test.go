package sparse

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bake.build/bake/internal/need"
)

// archiveOf writes an archive with files before and after the one with holes.
func archiveOf(t *testing.T, name string, size int64, at ...int64) (archive, content []byte) {
	t.Helper()
	f := holey(t, size, at...)
	content, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	small := func(name string) {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: 3, Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte("abc")); err != nil {
			t.Fatal(err)
		}
	}
	small("before")
	hdr := &tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o640, Uid: 12, Gid: 34, ModTime: time.Unix(1e9, 5e8), Format: tar.FormatPAX,
		PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b\nc"},
	}
	if err := WriteTar(context.Background(), tw, &b, hdr, f); err != nil {
		t.Fatal(err)
	}
	small("after")
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), content
}

func TestWriteTar(t *testing.T) {
	long := strings.Repeat("d/", 90) + strings.Repeat("n", 120)
	for name, test := range map[string]struct {
		name string
		at   []int64
	}{
		"all holes": {"x", nil}, "at the beginning": {"a/x", []int64{0}}, "at the end": {"x", []int64{5<<20 - 1}},
		"between": {"x y", []int64{1 << 20, 3<<20 + 17}}, "a long name": {long, []int64{2 << 20}}, "not of ASCII": {"ä/ö", []int64{7}},
	} {
		t.Run(name, func(t *testing.T) {
			b, want := archiveOf(t, test.name, 5<<20+3, test.at...)
			if len(b) > 64<<10 {
				t.Errorf("the archive has %d bytes", len(b))
			}
			tr := tar.NewReader(bytes.NewReader(b))
			for _, file := range []struct {
				name    string
				content []byte
			}{{"before", []byte("abc")}, {test.name, want}, {"after", []byte("abc")}} {
				h, err := tr.Next()
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(tr)
				if err != nil || h.Name != file.name || !bytes.Equal(got, file.content) {
					t.Errorf("%s: %d bytes, %v", h.Name, len(got), err)
				}
				if h.Name == test.name && (h.Mode != 0o640 || h.Uid != 12 || h.Gid != 34 || !h.ModTime.Equal(time.Unix(1e9, 5e8)) || h.PAXRecords["SCHILY.xattr.user.a"] != "b\nc") {
					t.Errorf("header %+v", h)
				}
			}
			for _, reader := range []string{"tar", "bsdtar"} {
				t.Run(reader, func(t *testing.T) {
					need.Tool(t, reader)
					dir := t.TempDir()
					cmd := exec.Command(reader, "-xf", "-", "-C", dir)
					cmd.Stdin = bytes.NewReader(b)
					if out, err := cmd.CombinedOutput(); err != nil {
						t.Fatalf("%v: %s", err, out)
					}
					if got, err := os.ReadFile(filepath.Join(dir, test.name)); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%d bytes, %v", len(got), err)
					}
				})
			}
		})
	}
}

func TestWriteTarOfLess(t *testing.T) {
	tw := tar.NewWriter(io.Discard)
	hdr := &tar.Header{Typeflag: tar.TypeReg, Name: "x", Size: 2000}
	if err := WriteTar(context.Background(), tw, io.Discard, hdr, holey(t, 1000, 10)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v", err)
	}
}
