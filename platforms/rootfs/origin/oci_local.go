package origin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// folderImage opens the image in a folder: an OCI layout, or what docker save
// writes. An archive may be both; the layout has the digests.
// tag picks one of several images by its name or the end of it after a colon; ""
// takes the only one.
func folderImage(dir, tag string, platform v1.Platform) (v1.Image, error) {
	if err := checkFolder(dir); err != nil {
		return nil, err
	}
	if _, err := os.Stat(dir + "/index.json"); err == nil {
		if err := checkDocuments(dir); err != nil {
			return nil, err
		}
		index, err := layout.ImageIndexFromPath(dir)
		if err != nil {
			return nil, err
		}
		if tag != "" {
			return taggedImage(index, tag, platform)
		}
		return selectImage(index, platform)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	img, err := dockerImage(root, tag)
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return img, checkPlatform(img, platform)
}

// refName is the annotation that names an image of a layout.
const refName = "org.opencontainers.image.ref.name"

// hasTag reports whether an image's name is the one that is asked for, or has it
// for its tag.
func hasTag(name, tag string) bool { return name == tag || strings.HasSuffix(name, ":"+tag) }

// taggedImage returns the image with the tag from the index of a layout.
func taggedImage(index v1.ImageIndex, tag string, platform v1.Platform) (v1.Image, error) {
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var names []string
	fits := map[v1.Hash]v1.Descriptor{}
	for _, d := range m.Manifests {
		if name := d.Annotations[refName]; hasTag(name, tag) {
			fits[d.Digest] = d
		} else if name != "" {
			names = append(names, name)
		}
	}
	one := mutate.RemoveManifests(index, func(d v1.Descriptor) bool { _, is := fits[d.Digest]; return !is })
	if len(fits) == 0 {
		return nil, fmt.Errorf("no image has the tag %q: there are %s", tag, strings.Join(names, ", "))
	}
	return selectImage(one, platform)
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
func dockerImage(root *os.Root, tag string) (v1.Image, error) {
	type manifest struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	var manifests []manifest
	data, err := readDocument(root, "manifest.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("neither an OCI layout nor a docker archive: it has no index.json and no manifest.json")
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &manifests); err != nil {
		return nil, fmt.Errorf("read manifest.json: %w", err)
	}
	var tags []string
	for _, m := range manifests {
		tags = append(tags, m.RepoTags...)
	}
	if tag != "" {
		manifests = slices.DeleteFunc(manifests, func(m manifest) bool {
			return !slices.ContainsFunc(m.RepoTags, func(name string) bool { return hasTag(name, tag) })
		})
		if len(manifests) != 1 {
			return nil, fmt.Errorf("holds %d images with the tag %q: there are %s", len(manifests), tag, strings.Join(tags, ", "))
		}
	}
	if len(manifests) != 1 {
		return nil, fmt.Errorf("holds %d images (%s), of which one must be chosen: name it after a colon, as in ./images.tar:latest", len(manifests), strings.Join(tags, ", "))
	}
	if err := checkLayers(len(manifests[0].Layers)); err != nil {
		return nil, err
	}
	f := &dockerFolder{root: root, layers: manifests[0].Layers}
	if f.config, err = readDocument(root, path.Clean(manifests[0].Config)); err != nil {
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
