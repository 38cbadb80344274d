package export

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bake.build/bake/internal/userns"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/disk/tree"
)

var oci = Format{
	Name: "oci", Ext: ".oci", From: FromLayers,
	Doc: "A folder in the OCI image layout, with one OCI layer for each layer.",
	Write: func(ctx context.Context, j *Job, out string) error {
		_, err := j.layout.get(ctx, j)
		return err
	},
}

// layoutOnce makes an OCI layout for all formats that need one.
type layoutOnce struct {
	dir  string
	once sync.Once
	img  *ociImage
	err  error
}

func (l *layoutOnce) get(ctx context.Context, j *Job) (*ociImage, error) {
	l.once.Do(func() { l.img, l.err = writeLayout(ctx, j, l.dir) })
	return l.img, l.err
}

// An ociImage is an image in an OCI layout. The paths of its blobs are
// relative to dir.
type ociImage struct {
	dir      string
	config   v1.Descriptor
	manifest v1.Descriptor
	layers   []v1.Descriptor
	name     string // as of a repository
	tag      string
}

func blobPath(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

// writeLayout writes an OCI image layout, as of the OCI image specification
// 1.1, into the new directory dir.
func writeLayout(ctx context.Context, j *Job, dir string) (*ociImage, error) {
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return nil, err
	}
	codec, media, err := layerCodec(j.op.Compression)
	if err != nil {
		return nil, err
	}
	img := &ociImage{dir: dir}
	run, tag, err := j.imageConfig()
	if err != nil {
		return nil, err
	}
	img.tag, img.name = tag, repository(j.op.Name)
	config := &v1.ConfigFile{Architecture: j.req.Arch, OS: "linux", RootFS: v1.RootFS{Type: "layers"}, Config: run}
	newest := int64(0)
	add := func(t *tree.Tree, by string) error {
		if err := checkHoles(t, ociHoles, "layers of OCI images have none, and every reader writes them as zeros"); err != nil {
			return err
		}
		use := t.Usage()
		newest = max(newest, use.Newest)
		diff := sha256.New()
		blob, err := writeBlob(dir, func(w io.Writer) error {
			return codec.compress(ctx, w, func(w io.Writer) error {
				return writeTar(ctx, io.MultiWriter(w, diff), t, tarOptions{translate: fromOverlay(userns.OverlayPrefix())}, func(done int64) { j.Progress("oci "+by, done, use.Bytes) })
			})
		})
		if err != nil {
			return err
		}
		blob.MediaType = media
		img.layers = append(img.layers, blob)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(diff.Sum(nil))})
		config.History = append(config.History, v1.History{CreatedBy: "bake " + by})
		return nil
	}
	if err := j.eachLayer(ctx, add); err != nil {
		return nil, err
	}
	config.Created = v1.Time{Time: time.Unix(newest, 0).UTC()}
	for i := range config.History {
		config.History[i].Created = config.Created
	}
	return img, img.finish(config)
}

func layerCodec(compression string) (codec, types.MediaType, error) {
	switch compression {
	case "", "zlib":
		return codecGzip, types.OCILayer, nil
	case "zstd":
		return codecZstd, types.OCILayerZStd, nil
	case "none":
		return codecNone, types.OCIUncompressedLayer, nil
	}
	return "", "", fmt.Errorf("compression %q: OCI layers know zstd, zlib (gzip) and none", compression)
}

// eachLayer calls add with every layer from the oldest on, without what later
// ones hide, or with the merged tree where the layers are not known.
func (j *Job) eachLayer(ctx context.Context, add func(t *tree.Tree, by string) error) error {
	if len(j.req.Layers) == 0 || j.req.OwnDisk {
		return j.Tree(ctx, func(dir string) error { return scanInto(dir, j.req.Key.Short(), add) })
	}
	trees, above := make([]*tree.Tree, len(j.req.Layers)), newHidden()
	for i, l := range slices.Backward(j.req.Layers) {
		t, err := tree.Scan(layerDir(l))
		if err != nil {
			return err
		}
		above.below(t, i == 0)
		trees[i] = t
	}
	for i, l := range j.req.Layers {
		if err := add(trees[i], l.Key[:min(len(l.Key), 12)]); err != nil {
			return err
		}
	}
	return nil
}

func scanInto(dir, by string, add func(t *tree.Tree, by string) error) error {
	t, err := tree.Scan(dir)
	if err != nil {
		return err
	}
	return add(t, by)
}

// layerDir returns the overlay's upper directory of a layer.
func layerDir(l platforms.Layer) string { return filepath.Join(l.Dir, "fs") }

// finish writes the configuration, the manifest and the index.
func (img *ociImage) finish(config *v1.ConfigFile) (err error) {
	if img.config, err = img.putJSON(config); err != nil {
		return err
	}
	img.config.MediaType = types.OCIConfigJSON
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: img.config, Layers: img.layers}
	if img.manifest, err = img.putJSON(m); err != nil {
		return err
	}
	img.manifest.MediaType = types.OCIManifestSchema1
	img.manifest.Platform = &v1.Platform{Architecture: config.Architecture, OS: config.OS}
	index, err := img.index(img.tag)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(img.dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(img.dir, "index.json"), index, 0o644)
}

// index returns index.json, in which the image has the name.
func (img *ociImage) index(name string) ([]byte, error) {
	d := img.manifest
	d.Annotations = map[string]string{"org.opencontainers.image.ref.name": name}
	return json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{d}})
}

func (img *ociImage) putJSON(v any) (v1.Descriptor, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return writeBlob(img.dir, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}

// writeBlob writes a blob into a layout.
func writeBlob(dir string, fill func(w io.Writer) error) (d v1.Descriptor, err error) {
	f, err := os.CreateTemp(filepath.Join(dir, "blobs"), ".new-")
	if err != nil {
		return d, err
	}
	h := sha256.New()
	n := &counter{}
	err = fill(io.MultiWriter(f, h, n))
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return d, err
	}
	d = v1.Descriptor{Size: n.n, Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}}
	return d, os.Rename(f.Name(), filepath.Join(dir, filepath.FromSlash(blobPath(d.Digest))))
}

type counter struct{ n int64 }

func (c *counter) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	return len(b), nil
}
