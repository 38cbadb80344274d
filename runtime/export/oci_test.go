package export

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
)

// sampleLayers makes two layers as overlay upper directories; the second
// removes a file and replaces a directory.
func sampleLayers(t *testing.T) []platforms.Layer {
	t.Helper()
	need.Root(t)
	need.Tool(t, "mknod")
	need.Tool(t, "setfattr")
	base, top := t.TempDir(), t.TempDir()
	for _, p := range []string{base + "/fs/etc/old", base + "/fs/etc/kept", base + "/fs/opt/a", top + "/fs/opt/b"} {
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(p), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(top+"/fs/etc", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"mknod", top + "/fs/etc/old", "c", "0", "0"},
		{"setfattr", "-n", "trusted.overlay.opaque", "-v", "y", top + "/fs/opt"},
		{"setfattr", "-n", "user.kept", "-v", "yes", top + "/fs/opt/b"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	return []platforms.Layer{{Key: strings.Repeat("a1", 32), Dir: base}, {Key: strings.Repeat("b2", 32), Dir: top}}
}

func layerNames(t *testing.T, l v1.Layer) (names []string) {
	t.Helper()
	r, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return names
		} else if err != nil {
			t.Fatal(err)
		}
		name := h.Name
		for k, v := range h.PAXRecords {
			if strings.HasPrefix(k, "SCHILY.xattr.") {
				name += " " + k + "=" + v
			}
		}
		names = append(names, name)
	}
}

func TestOCILayers(t *testing.T) {
	layers := sampleLayers(t)
	for _, compression := range []string{"", "zstd", "none"} {
		t.Run("compression "+compression, func(t *testing.T) {
			r := request(t, t.TempDir(), "oci", "docker")
			r.Layers, r.Op.Compression = layers, compression
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
				t.Errorf("the layout is not valid: %v", err)
			}
			m, err := index.IndexManifest()
			if err != nil {
				t.Fatal(err)
			}
			img, err := index.Image(m.Manifests[0].Digest)
			if err != nil {
				t.Fatal(err)
			}
			checkImage(t, img)
			docker, err := tarball.ImageFromPath(filepath.Join(r.OutDir, "web.docker.tar"), nil)
			if err != nil {
				t.Fatal(err)
			}
			checkImage(t, docker)
		})
	}
}

func checkImage(t *testing.T, img v1.Image) {
	t.Helper()
	if err := validate.Image(img); err != nil {
		t.Errorf("the image is not valid: %v", err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 2 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	want := [][]string{
		{"etc/", "etc/kept", "etc/old", "opt/", "opt/a"},
		{"etc/", "etc/.wh.old", "opt/", "opt/.wh..wh..opq", "opt/b SCHILY.xattr.user.kept=yes"},
	}
	for i, l := range layers {
		if got := layerNames(t, l); !slices.Equal(got, want[i]) {
			t.Errorf("layer %d: %q, want %q", i, got, want[i])
		}
	}
	c, err := img.ConfigFile()
	if err != nil || c.Architecture != "amd64" || c.OS != "linux" || len(c.Config.Cmd) == 0 || len(c.Config.Env) == 0 {
		t.Errorf("config %+v, %v", c, err)
	}
}

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
