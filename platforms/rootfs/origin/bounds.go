package origin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxDocument is how many bytes an index, a manifest or a configuration of an
// image has at most. Registries take 4 MiB.
const maxDocument = 16 << 20

// readDocument reads a document of an image, which is held in memory.
func readDocument(root *os.Root, name string) (b []byte, err error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b, err = io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err == nil && len(b) > maxDocument {
		b, err = nil, fmt.Errorf("%s has more than %d bytes: it is no document of an image", name, maxDocument)
	}
	return b, err
}

// checkDocuments makes sure that the documents of the OCI layout in dir can be
// read into memory, beginning with the index. What is not there is no matter of
// this function: a layout may lack the images of other platforms.
func checkDocuments(dir string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	seen := map[string]bool{}
	var check func(name string) error
	check = func(name string) error {
		if seen[name] {
			return nil
		}
		seen[name] = true
		b, err := readDocument(root, name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		var d struct { // an index, or a manifest
			Manifests []v1.Descriptor `json:"manifests"`
			Config    v1.Descriptor   `json:"config"`
		}
		if json.Unmarshal(b, &d) != nil {
			return nil // who reads it for what it is tells why it cannot be read
		}
		for _, m := range append(d.Manifests, d.Config) {
			if !m.MediaType.IsIndex() && !m.MediaType.IsImage() && !m.MediaType.IsConfig() || m.Digest.Hex == "" {
				continue
			}
			if err := check(path.Join("blobs", m.Digest.Algorithm, m.Digest.Hex)); err != nil {
				return err
			}
		}
		return nil
	}
	return check("index.json")
}

// maxLayers is how many layers an image has at most. Docker and podman, which mount
// them, take 128.
const maxLayers = 500

// checkManifest fails for a manifest whose configuration is too large to be read
// into memory, before it is asked for, or which names layers without end.
func checkManifest(m *v1.Manifest) error {
	if err := checkLayers(len(m.Layers)); err != nil {
		return err
	}
	if m.Config.Size > maxDocument {
		return fmt.Errorf("its configuration has %d bytes, more than %d", m.Config.Size, maxDocument)
	}
	return nil
}

func checkLayers(n int) error {
	if n > maxLayers {
		return fmt.Errorf("it has %d layers, more than %d", n, maxLayers)
	}
	return nil
}

// How much more an archive may unpack to than it has bytes. A tree compresses to
// a third; files that are zeros for the most part, such as disk images, are what
// the rest is for. The programs that compress reach 1,000 and more with text made
// for it.
const (
	maxGrowth  = 250
	freeGrowth = 4 << 30 // bytes, of an archive of any size
	// Zeros become holes, which fill no disk: they cost time alone.
	maxZeros = 128 << 30
)

// A growth is what an archive of some size unpacks to.
type growth struct {
	r    io.Reader
	size int64 // of the archive
	left int64
	zero int64 // bytes of zeros that are left
}

// growthOf bounds what r, which an archive of size bytes unpacks to, may give.
func growthOf(r io.Reader, size int64) *growth {
	return &growth{r: r, size: size, left: freeGrowth + maxGrowth*size, zero: maxZeros + maxGrowth*size}
}

// Read implements io.Reader.
func (g *growth) Read(p []byte) (int, error) {
	if g.left <= 0 {
		return 0, fmt.Errorf("an archive of %d bytes unpacks to more than %d: it was made to fill a disk", g.size, freeGrowth+maxGrowth*g.size)
	}
	n, err := g.r.Read(p[:min(int64(len(p)), g.left)])
	if n > 0 && int64(n) <= g.zero && p[0] == 0 && bytes.Equal(p[:n-1], p[1:n]) {
		g.zero -= int64(n)
	} else {
		g.left -= int64(n)
	}
	return n, err
}
