package export

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"bake.build/bake/internal/regular"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
)

// Names of the files that describe an artifact, in its directory.
const (
	ManifestName = "manifest.json"
	SumsName     = "SHA256SUMS"
)

// maxManifest is how many bytes of a manifest, or of SHA256SUMS, are read at most.
const maxManifest = 64 << 20

// Schema is the version of manifest.json.
const Schema = "bake.artifact/1"

// About is what a manifest tells of the definition. None of it may be secret.
type About struct {
	Definition string                    `json:"definition,omitempty"` // the file, as shown to users
	Params     map[string]string         `json:"params,omitempty"`
	Pins       map[string]*platforms.Pin `json:"pins,omitempty"` // of the origins that the layers come from, by a name of the caller's
	Version    string                    `json:"bake,omitempty"` // of bake
}

// A Manifest is the content of manifest.json.
type Manifest struct {
	Schema string   `json:"schema"`
	Name   string   `json:"name"`
	Key    string   `json:"key"`            // of the export, hex
	Layers []string `json:"layers"`         // keys of the layers, from the oldest
	Disk   string   `json:"disk,omitempty"` // key of the disk that files were written from
	About
	Arch       string    `json:"arch,omitempty"`
	Boot       string    `json:"boot,omitempty"`
	KernelArgs string    `json:"kernel_args,omitempty"`
	Started    time.Time `json:"started"`
	Finished   time.Time `json:"finished"`
	Files      []File    `json:"files"`
	Images     []Image   `json:"images,omitempty"` // of an artifact that is registered on a platform

	// ImageConfig is how containers of the image run that the layers began with:
	// the object "config" of the OCI image specification.
	ImageConfig json.RawMessage `json:"image_config,omitempty"`
}

// A File is one file of an artifact. A format that is a folder has many.
type File struct {
	Format  string      `json:"format"`
	Path    string      `json:"path"` // relative to the artifact's directory, with slashes
	Size    int64       `json:"size"` // bytes
	SHA256  plan.Digest `json:"sha256"`
	Virtual int64       `json:"virtual_size,omitempty"` // bytes of the disk in the file
}

// ReadManifest reads the manifest of the artifact in dir.
func ReadManifest(dir string) (*Manifest, error) {
	b, err := regular.Read(filepath.Join(dir, ManifestName), maxManifest)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", filepath.Join(dir, ManifestName), err)
	}
	if m.Schema != Schema {
		return nil, fmt.Errorf("read manifest %s: schema %q is not %q", filepath.Join(dir, ManifestName), m.Schema, Schema)
	}
	for _, f := range m.Files {
		if p := filepath.FromSlash(f.Path); !filepath.IsLocal(p) || filepath.Clean(p) == "." {
			return nil, fmt.Errorf("read manifest %s: file %q is not in the artifact", filepath.Join(dir, ManifestName), f.Path)
		}
	}
	return &m, nil
}

// Sums returns the content of SHA256SUMS, as sha256sum reads it.
func (m *Manifest) Sums() string {
	var b strings.Builder
	for _, f := range m.Files {
		fmt.Fprintf(&b, "%s  %s\n", f.SHA256, f.Path)
	}
	return b.String()
}

func (m *Manifest) encode() ([]byte, error) {
	b, err := json.MarshalIndent(m, "", "  ")
	return append(b, '\n'), err
}
