package origin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"bake.build/bake/internal/regular"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/rootfs/archive"
)

// pinOCI pins a reference to the digest of its manifest, or of the index of
// manifests, so that the pin is the same for every architecture. Local images
// are inputs of the plan.
func pinOCI(ctx context.Context, opts Options, o platforms.Origin, h platforms.Host) (*platforms.Pin, error) {
	if path := o.Paths["oci"]; path != "" {
		return nil, checkLayout(path, opts)
	}
	ref, err := name.ParseReference(opts.OCI)
	if err != nil {
		return nil, fmt.Errorf("oci %q: %w", opts.OCI, err)
	}
	if d, ok := ref.(name.Digest); ok {
		return &platforms.Pin{ID: d.DigestStr()}, nil
	}
	if platforms.Offline(h) {
		return nil, fmt.Errorf("oci %s: %w", opts.OCI, platforms.ErrOffline) // no manifest is kept
	}
	if o.Pin != nil {
		_, err := remote.Head(ref.Context().Digest(o.Pin.ID), remoteOptions(ctx)...)
		if err == nil {
			return o.Pin, nil
		}
		if !notFound(err) {
			return nil, fmt.Errorf("oci %s: %w", opts.OCI, err)
		}
	}
	// Head costs nothing of a registry's quota, but not all of them know it.
	desc, err := remote.Head(ref, remoteOptions(ctx)...)
	if err != nil {
		d, getErr := remote.Get(ref, remoteOptions(ctx)...)
		if getErr != nil {
			return nil, fmt.Errorf("oci %s: %w", opts.OCI, getErr)
		}
		desc = &d.Descriptor
	}
	return &platforms.Pin{ID: desc.Digest.String(), Detail: map[string]string{"reference": ref.Name()}}, nil
}

// checkLayout looks whether the options pick one image of a layout's folder, which
// is seen before anything runs. Archives are looked at when they are unpacked.
func checkLayout(path string, opts Options) error {
	if _, err := os.Stat(filepath.Join(path, "index.json")); err != nil {
		return nil // no folder, or no layout
	}
	if _, err := folderImage(path, strings.TrimPrefix(opts.OCI, ":"), opts.platform()); err != nil {
		return &platforms.OptionError{Err: fmt.Errorf("oci %s: %w", path, err)}
	}
	return nil
}

func remoteOptions(ctx context.Context) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx),
		remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithUserAgent("bake"),
	}
}

func notFound(err error) bool {
	t := (*transport.Error)(nil)
	return errors.As(err, &t) && t.StatusCode == http.StatusNotFound
}

// importOCI applies the layers of an image to tree.
func importOCI(ctx context.Context, opts Options, o platforms.Origin, tree string, h platforms.Host, out platforms.Logger) (err error) {
	img, shown, done, err := openImage(ctx, opts, o, h)
	if err != nil {
		return fmt.Errorf("oci %s: %w", shown, err)
	}
	defer func() { err = errors.Join(err, done()) }()
	cache, err := h.CacheDir("oci")
	if err != nil {
		return err
	}
	a := applier{image: img, tree: tree, blobs: blobs{dir: cache, out: out, local: o.Paths["oci"] != ""}, lost: dropped{}}
	if err := a.apply(ctx); err != nil {
		return fmt.Errorf("oci %s: %w", shown, err)
	}
	if err := keepConfig(img, filepath.Dir(tree)); err != nil {
		return fmt.Errorf("oci %s: %w", shown, err)
	}
	return a.lost.tell(out, "oci "+shown)
}

// keepConfig leaves in dir how containers of the image run.
func keepConfig(img v1.Image, dir string) error {
	file, err := img.ConfigFile()
	if err != nil {
		return err
	}
	b, err := json.Marshal(file.Config)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, platforms.ImageConfigName), b, 0o600)
}

// openImage opens the image that o names and tells its name for messages. done
// ends the use of the image.
func openImage(ctx context.Context, opts Options, o platforms.Origin, h platforms.Host) (img v1.Image, shown string, done func() error, err error) {
	done = func() error { return nil }
	platform := opts.platform()
	if path := o.Paths["oci"]; path != "" {
		img, done, err = localImage(ctx, path, strings.TrimPrefix(opts.OCI, ":"), platform, h)
		return img, path, done, err
	}
	ref, err := name.ParseReference(opts.OCI)
	if err != nil {
		return nil, opts.OCI, done, err
	}
	if o.Pin == nil {
		return nil, opts.OCI, done, errors.New("the origin was not pinned")
	}
	if platforms.Offline(h) {
		return nil, opts.OCI, done, platforms.ErrOffline
	}
	desc, err := remote.Get(ref.Context().Digest(o.Pin.ID), append(remoteOptions(ctx), remote.WithPlatform(platform))...)
	if err != nil {
		return nil, opts.OCI, done, err
	}
	if desc.MediaType.IsIndex() {
		index, err := desc.ImageIndex()
		if err != nil {
			return nil, opts.OCI, done, err
		}
		img, err = selectImage(index, platform)
		return img, opts.OCI, done, err
	}
	img, err = desc.Image()
	if err == nil {
		var m *v1.Manifest
		if m, err = img.Manifest(); err == nil {
			err = checkManifest(m)
		}
	}
	if err == nil {
		err = checkPlatform(img, platform)
	}
	return img, opts.OCI, done, err
}

// localImage opens a layout folder, an archive of one, or a docker archive.
func localImage(ctx context.Context, path, tag string, platform v1.Platform, h platforms.Host) (v1.Image, func() error, error) {
	none := func() error { return nil }
	info, err := os.Stat(path)
	if err != nil {
		return nil, none, err
	}
	remove := none
	if !info.IsDir() {
		dir, rm, err := h.TempDir("oci")
		if err != nil {
			return nil, none, err
		}
		remove = rm
		if err := unpackArchive(ctx, path, dir); err != nil {
			return nil, none, errors.Join(err, remove())
		}
		path = dir
	}
	img, err := folderImage(path, tag, platform)
	if err != nil {
		return nil, none, errors.Join(err, remove())
	}
	return img, remove, nil
}

// unpackArchive unpacks an image archive. What it holds is read through names
// that its own manifest gives: see checkFolder.
func unpackArchive(ctx context.Context, path, dir string) (err error) {
	f, err := regular.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	o := archive.Options{NoOwners: true, NoDevices: true, Links: archive.LinksBeneath, Xattr: func(string) bool { return false }}
	return unpack(ctx, dir, f, info.Size(), o)
}

func (o Options) platform() v1.Platform { return ociPlatform(cmp.Or(o.Arch, hostArch())) }

// ociPlatform translates Debian's name of an architecture.
func ociPlatform(arch string) v1.Platform {
	p := v1.Platform{OS: "linux", Architecture: arch}
	switch arch {
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	case "i386":
		p.Architecture = "386"
	case "ppc64el":
		p.Architecture = "ppc64le"
	}
	return p
}

// selectImage returns the image of an index for the platform. Indices may hold
// indices.
func selectImage(index v1.ImageIndex, want v1.Platform) (v1.Image, error) {
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var offered []string
	var fits []v1.Descriptor
	seen := map[v1.Hash]bool{} // an image with two tags is listed twice
	for _, d := range m.Manifests {
		if seen[d.Digest] {
			continue
		}
		seen[d.Digest] = true
		switch {
		case d.MediaType.IsIndex():
			child, err := index.ImageIndex(d.Digest)
			if err != nil {
				return nil, err
			}
			if err := checkDigest(child.RawManifest, d.Digest); err != nil {
				return nil, err
			}
			img, err := selectImage(child, want)
			if err == nil || len(m.Manifests) == 1 {
				return img, err
			}
			offered = append(offered, err.Error())
		case !d.MediaType.IsImage():
		case d.Platform == nil:
			fits = append(fits, d)
		case d.Platform.Satisfies(want) || d.Platform.Satisfies(noVariant(want)) && d.Platform.Variant == "":
			fits = append(fits, d)
		default:
			offered = append(offered, d.Platform.String())
		}
	}
	if len(fits) == 0 {
		return nil, fmt.Errorf("the image is not made for %s but for: %s", want, strings.Join(offered, ", "))
	}
	if len(fits) > 1 && fits[0].Platform == nil {
		return nil, fmt.Errorf("holds %d images, of which one must be chosen: name it after a colon, as in ./layout:latest", len(fits))
	}
	img, err := index.Image(fits[0].Digest)
	if err != nil {
		return nil, err
	}
	if err := checkDigest(img.RawManifest, fits[0].Digest); err != nil {
		return nil, err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	if err := checkManifest(manifest); err != nil {
		return nil, err
	}
	if err := checkDigest(img.RawConfigFile, manifest.Config.Digest); err != nil {
		return nil, err
	}
	return img, checkPlatform(img, want)
}

// checkDigest makes sure that a document is the one that its digest names.
func checkDigest(read func() ([]byte, error), want v1.Hash) error {
	data, err := read()
	if err != nil {
		return err
	}
	if found := "sha256:" + hexDigest(data); found != want.String() {
		return fmt.Errorf("the manifest or configuration %s is damaged: it has the digest %s", want, found)
	}
	return nil
}

func noVariant(p v1.Platform) v1.Platform {
	p.Variant = ""
	return p
}

// checkPlatform makes sure that an image is for the machine, if it says.
func checkPlatform(img v1.Image, want v1.Platform) error {
	c, err := img.ConfigFile()
	if err != nil {
		return err
	}
	if c.OS != "" && c.OS != want.OS || c.Architecture != "" && c.Architecture != want.Architecture {
		return fmt.Errorf("the image is not made for %s but for: %s/%s", want, c.OS, c.Architecture)
	}
	return nil
}
