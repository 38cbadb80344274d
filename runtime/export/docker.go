package export

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

var docker = Format{
	Name: "docker", Ext: ".docker.tar", From: FromLayers,
	Doc: "An archive for docker load and podman load, which is an OCI layout too.",
	Write: func(ctx context.Context, j *Job, out string) error {
		img, err := j.layout.get(ctx, j)
		if err != nil {
			return err
		}
		return create(out, func(w io.Writer) error { return img.archive(ctx, w, img.name+":"+img.tag) })
	},
}

// dockerManifest is an element of manifest.json in the archives of docker save.
type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// archive writes the layout as one tar archive, with docker's manifest.json.
func (img *ociImage) archive(ctx context.Context, w io.Writer, tag string) error {
	m := dockerManifest{Config: blobPath(img.config.Digest), RepoTags: []string{tag}}
	for _, l := range img.layers {
		m.Layers = append(m.Layers, blobPath(l.Digest))
	}
	b, err := json.Marshal([]dockerManifest{m})
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	// Readers of the layout take the name of an archive from its index.
	index, err := img.index(tag)
	if err != nil {
		return err
	}
	if err := errors.Join(addBytes(t, "manifest.json", b), addBytes(t, "index.json", index)); err != nil {
		return err
	}
	// WalkDir goes in the order of names.
	err = filepath.WalkDir(img.dir, func(p string, d fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(img.dir, p)
		if err != nil || rel == "index.json" {
			return err
		}
		return addFile(t, p, filepath.ToSlash(rel))
	})
	if err != nil {
		return err
	}
	return t.Close()
}

func fileHeader(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0)}
}

func addBytes(t *tar.Writer, name string, b []byte) error {
	if err := t.WriteHeader(fileHeader(name, int64(len(b)))); err != nil {
		return err
	}
	_, err := t.Write(b)
	return err
}

func addFile(t *tar.Writer, path, name string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := t.WriteHeader(fileHeader(name, info.Size())); err != nil {
		return err
	}
	_, err = io.CopyN(t, f, info.Size())
	return err
}
