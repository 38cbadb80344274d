package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bake.build/bake/platforms"
)

// A dirHost lends one directory.
type dirHost struct{ dir string }

func (h dirHost) TempDir(string) (string, func() error, error) { return "", nil, errors.New("none") }
func (h dirHost) CacheDir(string) (string, error)              { return h.dir, nil }
func (h dirHost) Ledger() platforms.Ledger                     { return nil }
func (h dirHost) Ask(context.Context, string) (string, error)  { return "", errors.New("nobody to ask") }
func (h dirHost) Secret(platforms.Secret) ([]byte, error)      { return nil, errors.New("none") }

// A blob is pushed under a title and a media type.
type blob struct {
	data, title string
	kind        types.MediaType
}

// push starts a registry with one artifact and returns its reference.
func push(t *testing.T, blobs ...blob) string {
	t.Helper()
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	ref := strings.TrimPrefix(s.URL, "http://") + "/images/web:1"
	img := empty.Image
	for _, b := range blobs {
		var err error
		img, err = mutate.Append(img, mutate.Addendum{
			Layer: static.NewLayer([]byte(b.data), b.kind), Annotations: map[string]string{titleAnnotation: b.title},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	tag, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, img); err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestRegistry(t *testing.T) {
	const file types.MediaType = "application/vnd.example.disk"
	disk := blob{"the disk", "web.qcow2", file}
	for name, c := range map[string]struct {
		blobs []blob
		want  string // part of the error; "" for none
	}{
		"one file":          {[]blob{{"the disk", "", file}}, ""},
		"beside a checksum": {[]blob{{"0123", "SHA256SUMS", file}, disk}, ""},
		"beside a layer":    {[]blob{{"layer", "a.tar", types.OCILayer}, disk}, ""},
		"a container":       {[]blob{{"layer", "", types.OCILayer}}, "none of its 1 blobs is the image"},
		"two disks":         {[]blob{disk, {"another", "db.raw", file}}, "2 of its blobs may be the image"},
	} {
		t.Run(name, func(t *testing.T) {
			location := registryScheme + push(t, c.blobs...)
			h := dirHost{t.TempDir()}
			o := platforms.Origin{Kind: "disk"}
			f, err := FileOf(o, location, Digests{})
			if err != nil {
				t.Fatal(err)
			}
			o.Pin, err = f.Pin(t.Context(), o, h)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256([]byte("the disk"))
			if o.Pin.ID != "sha256:"+hex.EncodeToString(sum[:]) {
				t.Errorf("pinned to %s", o.Pin.ID)
			}
			get(t, o, location, hex.EncodeToString(sum[:]), dirHost{t.TempDir()})
		})
	}
}

// get fetches the file by its pin, and by a digest alone.
func get(t *testing.T, o platforms.Origin, location, digest string, h dirHost) {
	t.Helper()
	f, err := FileOf(o, location, Digests{})
	if err != nil {
		t.Fatal(err)
	}
	path, err := f.Local(t.Context(), h, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "the disk" {
		t.Errorf("%q, %v", b, err)
	}
	f, err = FileOf(platforms.Origin{Kind: "disk"}, location, Digests{SHA256: strings.Repeat("0", 64)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Local(t.Context(), h, nil); err == nil {
		t.Error("a digest that the registry does not have was found")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.Digest = digest
	if _, err := f.Local(ctx, dirHost{t.TempDir()}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
