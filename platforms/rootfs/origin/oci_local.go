package origin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// folderImage opens the image in a folder: an OCI layout, or what docker save
// writes. An archive may be both; the layout has the digests.
func folderImage(dir string, platform v1.Platform) (v1.Image, error) {
	if err := checkFolder(dir); err != nil {
		return nil, err
	}
	if _, err := os.Stat(dir + "/index.json"); err == nil {
		index, err := layout.ImageIndexFromPath(dir)
		if err != nil {
			return nil, err
		}
		return selectImage(index, platform)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	img, err := dockerImage(root)
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return img, checkPlatform(img, platform)
}

// checkFolder makes sure that a folder from elsewhere has nothing but files and
// directories, and links to them: another link could name any file of this
// host, and to open a pipe is to wait for ever.
func checkFolder(dir string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode()&fs.ModeSymlink != 0 {
			info, err = root.Stat(name)
		}
		switch {
		case err != nil:
			return fmt.Errorf("link that leads out or nowhere: %w", err)
		case !info.Mode().IsRegular() && !info.IsDir():
			return fmt.Errorf("%s: neither a file nor a directory", name)
		}
		return nil
	})
}

// A dockerFolder is an unpacked docker archive: uncompressed layers that the
// digests in the configuration vouch for.
type dockerFolder struct {
	root   *os.Root
	config []byte
	layers []string
}

// dockerImage reads the manifest.json of a docker archive.
func dockerImage(root *os.Root) (v1.Image, error) {
	var manifests []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	data, err := root.ReadFile("manifest.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("neither an OCI layout nor a docker archive: it has no index.json and no manifest.json")
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &manifests); err != nil {
		return nil, fmt.Errorf("read manifest.json: %w", err)
	}
	if len(manifests) != 1 {
		var tags []string
		for _, m := range manifests {
			tags = append(tags, m.RepoTags...)
		}
		return nil, fmt.Errorf("holds %d images (%s), of which one must be chosen: save it alone", len(manifests), strings.Join(tags, ", "))
	}
	f := &dockerFolder{root: root, layers: manifests[0].Layers}
	if f.config, err = root.ReadFile(path.Clean(manifests[0].Config)); err != nil {
		return nil, err
	}
	return partial.UncompressedToImage(f)
}

var _ partial.UncompressedImageCore = (*dockerFolder)(nil)

func (f *dockerFolder) RawConfigFile() ([]byte, error)      { return f.config, nil }
func (f *dockerFolder) MediaType() (types.MediaType, error) { return types.DockerManifestSchema2, nil }

// LayerByDiffID returns the layer whose place among the digests is that of its
// name among the names.
func (f *dockerFolder) LayerByDiffID(id v1.Hash) (partial.UncompressedLayer, error) {
	var config v1.ConfigFile
	if err := json.Unmarshal(f.config, &config); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if len(config.RootFS.DiffIDs) != len(f.layers) {
		return nil, fmt.Errorf("the manifest names %d layers, the configuration %d", len(f.layers), len(config.RootFS.DiffIDs))
	}
	for i, d := range config.RootFS.DiffIDs {
		if d == id {
			return dockerLayer{f.root, path.Clean(f.layers[i]), id}, nil
		}
	}
	return nil, fmt.Errorf("no layer %s", id)
}

// A dockerLayer is one file of a docker archive.
type dockerLayer struct {
	root *os.Root
	name string
	id   v1.Hash
}

func (l dockerLayer) DiffID() (v1.Hash, error)             { return l.id, nil }
func (l dockerLayer) Uncompressed() (io.ReadCloser, error) { return l.root.Open(l.name) }
func (l dockerLayer) MediaType() (types.MediaType, error)  { return types.DockerUncompressedLayer, nil }
