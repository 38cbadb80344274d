package export

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"bake.build/bake/internal/need"
)

func TestOCIWithoutLayers(t *testing.T) {
	r := request(t, sampleTree(t), "oci")
	mustRun(t, r)
	p, err := layout.FromPath(filepath.Join(r.OutDir, "web.oci"))
	if err != nil {
		t.Fatal(err)
	}
	index, err := p.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
}

// TestTarKeepsTheTree unpacks archives with tar and compares.
func TestTarKeepsTheTree(t *testing.T) {
	need.Tool(t, "tar")
	need.Tool(t, "zstd")
	dir := sampleTree(t)
	r := request(t, dir, "tar", "tar.gz", "tar.zst")
	mustRun(t, r)
	for _, ext := range []string{".tar", ".tar.gz", ".tar.zst"} {
		to := t.TempDir()
		if out, err := exec.Command("tar", "-xf", filepath.Join(r.OutDir, "web"+ext), "-C", to).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", ext, err, out)
		}
		if out, err := exec.Command("diff", "-r", dir, to).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", ext, err, out)
		}
		a, err := os.Stat(filepath.Join(to, "usr/hard"))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := os.Stat(filepath.Join(to, "usr/text")); err != nil || !os.SameFile(a, b) {
			t.Errorf("%s: the hard link is gone (%v)", ext, err)
		}
	}
}

func TestSquashfs(t *testing.T) {
	need.Tool(t, "unsquashfs")
	dir := sampleTree(t)
	for _, compression := range []string{"", "zlib", "none"} {
		r := request(t, dir, "squashfs")
		r.Op.Compression = compression
		mustRun(t, r)
		to := filepath.Join(t.TempDir(), "root")
		if out, err := exec.Command("unsquashfs", "-q", "-n", "-no-xattrs", "-d", to, filepath.Join(r.OutDir, "web.squashfs")).CombinedOutput(); err != nil {
			t.Errorf("%q: %v\n%s", compression, err, out)
		}
		if out, err := exec.Command("diff", "-r", dir, to).CombinedOutput(); err != nil {
			t.Errorf("%q: %v\n%s", compression, err, out)
		}
		want, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if root, err := os.Stat(to); err != nil || root.Mode() != want.Mode() || !root.ModTime().Equal(want.ModTime()) {
			t.Errorf("%q: the root directory is %v, %v, want %v, %v", compression, root.Mode(), root.ModTime(), want.Mode(), want.ModTime())
		}
	}
}

func TestPipelineKeepsOrderAndStops(t *testing.T) {
	failure := fmt.Errorf("disk full")
	for _, fail := range []bool{false, true} {
		var got []byte
		err := codecZstd.compress(context.Background(), writerFunc(func(b []byte) (int, error) {
			if got = append(got, b...); fail {
				return 0, failure
			}
			return len(b), nil
		}), func(w io.Writer) error {
			for range 100 {
				if _, err := w.Write(make([]byte, 300_000)); err != nil {
					return err
				}
			}
			return nil
		})
		if fail != (err == failure) {
			t.Errorf("fail %v: error %v", fail, err)
		}
	}
}

type writerFunc func(b []byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
