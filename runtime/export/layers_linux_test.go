package export

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"golang.org/x/sys/unix"

	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
)

// sampleLayers makes two layers as overlay upper directories; the second
// removes a file and replaces a directory.
func sampleLayers(t *testing.T) []platforms.Layer {
	t.Helper()
	need.Root(t)
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
	err := errors.Join(
		unix.Mknod(top+"/fs/etc/old", unix.S_IFCHR, 0),
		unix.Lsetxattr(top+"/fs/opt", "trusted.overlay.opaque", []byte("y"), 0),
		unix.Lsetxattr(top+"/fs/opt/b", "user.kept", []byte("yes"), 0),
		// As steps may set them, with and without the kernel's escape.
		unix.Lsetxattr(top+"/fs/etc", "user.overlay.opaque", []byte("y"), 0),
		unix.Lsetxattr(top+"/fs/etc", "trusted.overlay.overlay.opaque", []byte("y"), 0),
	)
	if err != nil {
		t.Fatal(err)
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
			if err := validate.Index(index, options(compression)...); err != nil {
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
			checkImage(t, img, options(compression))
			docker, err := tarball.ImageFromPath(filepath.Join(r.OutDir, "web.docker.tar"), nil)
			if err != nil {
				t.Fatal(err)
			}
			checkImage(t, docker, options(compression))
		})
	}
}

// options leaves out what validate does to layers where it takes all of them
// for gzip; checkDigests does that too.
func options(compression string) []validate.Option {
	if compression == "" {
		return nil
	}
	return []validate.Option{validate.Fast}
}

func checkDigests(t *testing.T, l v1.Layer) {
	t.Helper()
	for _, c := range []struct {
		open func() (io.ReadCloser, error)
		want func() (v1.Hash, error)
	}{{l.Compressed, l.Digest}, {l.Uncompressed, l.DiffID}} {
		r, err := c.open()
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := v1.SHA256(r)
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		if want, err := c.want(); err != nil || got != want {
			t.Errorf("digest %s, want %s (%v)", got, want, err)
		}
	}
}

func checkImage(t *testing.T, img v1.Image, o []validate.Option) {
	t.Helper()
	if err := validate.Image(img, o...); err != nil {
		t.Errorf("the image is not valid: %v", err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 2 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	want := [][]string{
		{"./", "etc/", "etc/kept", "opt/"},
		{"./", "etc/", "etc/.wh.old", "opt/", "opt/.wh..wh..opq", "opt/b SCHILY.xattr.user.kept=yes"},
	}
	for i, l := range layers {
		checkDigests(t, l)
		if got := layerNames(t, l); !slices.Equal(got, want[i]) {
			t.Errorf("layer %d: %q, want %q", i, got, want[i])
		}
	}
	c, err := img.ConfigFile()
	if err != nil || c.Architecture != "amd64" || c.OS != "linux" || len(c.Config.Cmd) == 0 || len(c.Config.Env) == 0 {
		t.Errorf("config %+v, %v", c, err)
	}
}
