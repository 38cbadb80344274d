package origin

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// TestDocumentsAreBounded has images whose documents are blanks for the most
// part, which compress to nothing: they are refused and not read.
func TestDocumentsAreBounded(t *testing.T) {
	blanks := bytes.Repeat([]byte(" "), maxDocument)
	pad := func(doc string) []byte { return append([]byte(doc), blanks...) }
	digest := func(b []byte) string { return hexDigest(b) }
	config, small := pad(`{"os": "linux"}`), []byte(`{"os": "linux"}`)
	manifest := func(config []byte) []byte {
		return fmt.Appendf(nil, `{"schemaVersion": 2, "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": "sha256:%s"}, "layers": []}`, digest(config))
	}
	index := func(kind string, doc []byte) []byte {
		return fmt.Appendf(nil, `{"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.%s.v1+json", "size": 2, "digest": "sha256:%s"}]}`, kind, digest(doc))
	}
	long := pad(string(manifest(small)))
	nested := index("manifest", long)
	blob := func(b []byte) string { return "blobs/sha256/" + digest(b) }
	for what, files := range map[string]map[string][]byte{
		"docker manifest":      {"manifest.json": pad(`[]`)},
		"docker configuration": {"manifest.json": []byte(`[{"Config": "c.json", "Layers": []}]`), "c.json": config},
		"index":                {"index.json": pad(`{}`)},
		"manifest":             {"index.json": index("manifest", long), blob(long): long},
		"manifest below":       {"index.json": index("index", nested), blob(nested): nested, blob(long): long},
		"configuration":        {"index.json": index("manifest", manifest(config)), blob(manifest(config)): manifest(config), blob(config): config},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			for name, data := range files {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			_, err := folderImage(dir, "", v1.Platform{OS: "linux", Architecture: "amd64"})
			if err == nil || !strings.Contains(err.Error(), "it is no document of an image") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestLayersAreBounded has images that name one layer again and again.
func TestLayersAreBounded(t *testing.T) {
	layer := `{"mediaType": "application/vnd.oci.image.layer.v1.tar", "size": 1, "digest": "sha256:` + strings.Repeat("a", 64) + `"}`
	config := []byte(`{"os": "linux"}`)
	many := fmt.Appendf(nil, `{"schemaVersion": 2, "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": "sha256:%s"}, "layers": [%s]}`,
		hexDigest(config), strings.TrimSuffix(strings.Repeat(layer+",", maxLayers+1), ","))
	blob := func(b []byte) string { return "blobs/sha256/" + hexDigest(b) }
	for what, files := range map[string]map[string][]byte{
		"docker": {"manifest.json": []byte(`[{"Config": "c.json", "Layers": [` + strings.TrimSuffix(strings.Repeat(`"l",`, maxLayers+1), ",") + `]}]`), "c.json": config},
		"layout": {"index.json": fmt.Appendf(nil, `{"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 2, "digest": "sha256:%s"}]}`, hexDigest(many)),
			blob(many): many, blob(config): config},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			for name, data := range files {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			_, err := folderImage(dir, "", v1.Platform{OS: "linux", Architecture: "amd64"})
			if err == nil || !strings.Contains(err.Error(), "it has 501 layers, more than 500") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestGrowth holds that what an archive unpacks to is bounded by its size, and
// that an archive of zeros, as of a disk image, is well within.
func TestGrowth(t *testing.T) {
	g := &growth{r: zeros{}, size: 10, left: 100}
	n, err := io.Copy(io.Discard, g)
	if n != 100 || err == nil || !strings.Contains(err.Error(), "an archive of 10 bytes unpacks to more than") {
		t.Errorf("%d bytes, %v", n, err)
	}
	g = &growth{r: zeros{}, size: 10, left: 100, zero: 250}
	if n, err := io.Copy(io.Discard, io.LimitReader(g, 1000)); n < 250 || n > 450 || err == nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	archive := gzipped(t, tarOf(t, tar.Header{Name: "disk.raw", Typeflag: tar.TypeReg}))
	if n, err := io.Copy(io.Discard, growthOf(io.LimitReader(zeros{}, 3<<30), int64(len(archive)))); n != 3<<30 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// FuzzDocuments has layouts whose documents name each other, themselves and files
// outside of them: each is read once, and none from elsewhere.
func FuzzDocuments(f *testing.F) {
	const hex = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	index := `{"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:` + hex + `","size":1}]}`
	f.Add([]byte(index), []byte(index))
	f.Add([]byte(index), []byte(`{"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"..:..","size":-1}}`))
	f.Add([]byte(`{"manifests":[{"digest":""}]}`), []byte("[]"))
	f.Fuzz(func(t *testing.T, index, blob []byte) {
		dir := t.TempDir()
		blobs := filepath.Join(dir, "blobs", "sha256")
		if err := os.MkdirAll(blobs, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, b := range map[string][]byte{filepath.Join(dir, "index.json"): index, filepath.Join(blobs, hex): blob} {
			if err := os.WriteFile(name, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		_ = checkDocuments(dir) // an error is as good as none
		m, err := v1.ParseManifest(bytes.NewReader(blob))
		if err == nil && checkManifest(m) == nil && (len(m.Layers) > maxLayers || m.Config.Size > maxDocument) {
			t.Errorf("%d layers and a configuration of %d bytes are taken", len(m.Layers), m.Config.Size)
		}
	})
}
