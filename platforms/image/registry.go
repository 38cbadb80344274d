package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"bake.build/bake/platforms"
)

// registryScheme begins the location of a file in a registry of OCI artifacts:
// oci://HOST/REPOSITORY:TAG.
const registryScheme = "oci://"

// titleAnnotation is what tools that push files name them by.
const titleAnnotation = "org.opencontainers.image.title"

// openBlob opens the file that an artifact in a registry holds: by its digest,
// or the one that the artifact's manifest lists when that is "". The registry is
// asked with the credentials of the container tools.
func openBlob(ctx context.Context, reference, digest string) (r io.ReadCloser, size int64, err error) {
	ref, err := name.ParseReference(reference)
	if err != nil {
		return nil, 0, err
	}
	options := []remote.Option{
		remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithUserAgent("bake"),
	}
	if digest == "" {
		if digest, err = blobOf(ref, options); err != nil {
			return nil, 0, err
		}
	}
	blob, err := remote.Layer(ref.Context().Digest("sha256:"+digest), options...)
	if err != nil {
		return nil, 0, err
	}
	if size, err = blob.Size(); err != nil {
		return nil, 0, err
	}
	r, err = blob.Compressed() // as it is
	return r, size, err
}

// blobOf returns the digest of an artifact's file, in hex.
func blobOf(ref name.Reference, options []remote.Option) (string, error) {
	desc, err := remote.Get(ref, options...)
	if err != nil {
		return "", err
	}
	if desc.MediaType.IsIndex() {
		return "", errors.New("it is an index of artifacts: name one of them by its digest")
	}
	img, err := desc.Image()
	if err != nil {
		return "", err
	}
	m, err := img.Manifest()
	if err != nil {
		return "", err
	}
	d, err := pickBlob(m.Layers)
	return d.Digest.Hex, err
}

// pickBlob returns the blob that is an image of a disk or a CD: the only one that
// is no layer of a container, or the only one that is named like an image.
func pickBlob(blobs []v1.Descriptor) (v1.Descriptor, error) {
	files := slices.DeleteFunc(slices.Clone(blobs), func(d v1.Descriptor) bool {
		return d.MediaType.IsLayer() || d.Digest.Algorithm != "sha256"
	})
	if len(files) > 1 {
		files = slices.DeleteFunc(files, func(d v1.Descriptor) bool {
			name := d.Annotations[titleAnnotation]
			_, isDisk := platforms.DiskFormatOf(name)
			return !isDisk && strings.ToLower(path.Ext(name)) != ".iso"
		})
	}
	switch {
	case len(files) == 1:
		return files[0], nil
	case len(files) == 0:
		return v1.Descriptor{}, fmt.Errorf("none of its %d blobs is the image of a disk: they are layers of a container, or not named like images", len(blobs))
	}
	return v1.Descriptor{}, fmt.Errorf("%d of its blobs may be the image: give the digest of the right one as sha256", len(files))
}
