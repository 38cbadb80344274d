package openstack

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"bake.build/bake/platforms"
	diskimage "bake.build/bake/platforms/image"
	"bake.build/bake/platforms/image/fetch"
)

// Pull implements platforms.Puller, for the id or the name of an image in the platform's
// region.
func (d *driver) Pull(ctx context.Context, name, dst string, out platforms.Logger) error {
	region, err := d.clients.home(ctx)
	if err != nil {
		return err
	}
	i, err := d.named(ctx, region, Origin{Image: name})
	if err != nil {
		return err
	}
	return d.download(ctx, *i, dst, out)
}

// Disk implements platforms.Disker: it reads the layer's image.
func (d *driver) Disk(ctx context.Context, chain []platforms.Layer, dst string, out platforms.Logger) error {
	i, err := d.layer(ctx, chain[len(chain)-1].Ref, out)
	if err != nil {
		return err
	}
	return d.download(ctx, *i, dst, out)
}

// data opens the data of an image.
func (d *driver) data(ctx context.Context, i image) (io.ReadCloser, error) {
	c, err := d.clients.images(ctx, i.region)
	if err != nil {
		return nil, err
	}
	r, err := imagedata.Download(ctx, c, i.ID).Extract()
	if err != nil {
		return nil, fmt.Errorf("%s: download the image %s: %w", i.region, i.ID, explain(err))
	}
	return r, nil
}

// download writes the disk of an image to the new file dst, as a raw image with holes.
func (d *driver) download(ctx context.Context, i image, dst string, out platforms.Logger) (err error) {
	if i.Status != images.ImageStatusActive {
		return fmt.Errorf("%s: the image %s is %s", i.region, i.ID, i.Status)
	}
	if i.SizeBytes == 0 {
		return d.downloadVolume(ctx, i, dst, out)
	}
	dir, remove, err := d.host.TempDir("glance")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	file := filepath.Join(dir, "image")
	for try := 1; ; try++ {
		err := d.fetch(ctx, i, file, out)
		if err == nil {
			break
		} else if try == uploadTries || !broken(err) || ctx.Err() != nil {
			return err
		}
		_, _ = fmt.Fprintf(out, "%v: the download begins again\n", err) // the log keeps its own error
	}
	if i.DiskFormat == "raw" || i.DiskFormat == "ami" {
		return diskimage.CopySparse(ctx, dst, file)
	}
	out.Progress("convert the image", 0, 0)
	return diskimage.ConvertRaw(ctx, file, dst)
}

// fetch writes the data of an image to a file, and compares its hash.
func (d *driver) fetch(ctx context.Context, i image, file string, out platforms.Logger) (err error) {
	r, err := d.data(ctx, i)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // what was read is checked
	algorithm, want := i.hash()
	h := newHash(algorithm)
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var in io.Reader = &fetch.Meter{R: &fetch.Reader{Ctx: ctx, R: r}, Total: i.SizeBytes, Tell: func(done, total int64) { out.Progress(i.region+": download "+i.Name, done, total) }}
	if h != nil {
		in = io.TeeReader(in, h)
	}
	n, err := io.Copy(f, in)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return &brokenError{fmt.Errorf("%s: download the image %s: %w", i.region, i.ID, err)}
	}
	if n != i.SizeBytes {
		return &brokenError{fmt.Errorf("%s: the image %s has %d bytes, and %d came", i.region, i.ID, i.SizeBytes, n)}
	}
	return compare(i, h, want)
}

// compare returns an error if what came does not have the hash that the image has.
func compare(i image, h hash.Hash, want string) error {
	if h == nil || want == "" {
		return nil
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return &brokenError{fmt.Errorf("%s: what came of the image %s has the hash %.16s…, and the image has %.16s…", i.region, i.ID, got, want)}
	}
	return nil
}
