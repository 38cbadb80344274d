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
	if i.DiskFormat == formatRaw || i.DiskFormat == "ami" { // what comes is the disk
		return d.fetch(ctx, i, dst, diskimage.WriteSparse, out)
	}
	dir, remove, err := d.host.TempDir("glance")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	file := filepath.Join(dir, "image")
	err = d.fetch(ctx, i, file, func(f *os.File, r io.Reader) error {
		_, err := io.Copy(f, r)
		return err
	}, out)
	if err != nil {
		return err
	}
	out.Progress("convert the image", 0, 0)
	return diskimage.ConvertRaw(ctx, file, dst)
}

// fetch has write put the data of an image into the new file dst. A transfer that breaks is
// begun again.
func (d *driver) fetch(ctx context.Context, i image, dst string, write func(f *os.File, r io.Reader) error, out platforms.Logger) error {
	for try := 1; ; try++ {
		err := d.tryFetch(ctx, i, dst, write, out)
		if err == nil {
			return nil
		}
		err = errors.Join(err, os.RemoveAll(dst))
		if try == uploadTries || !broken(err) || ctx.Err() != nil {
			return err
		}
		_, _ = fmt.Fprintf(out, "%v: the download begins again\n", err) // the log keeps its own error
	}
}

// tryFetch writes the data of an image, and compares its hash.
func (d *driver) tryFetch(ctx context.Context, i image, dst string, write func(f *os.File, r io.Reader) error, out platforms.Logger) (err error) {
	r, err := d.data(ctx, i)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // what was read is checked
	algorithm, want := i.hash()
	h := newHash(algorithm)
	f, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	meter := &fetch.Meter{R: &fetch.Reader{Ctx: ctx, R: r}, Total: i.SizeBytes, Tell: func(done, total int64) { out.Progress(i.region+": download "+i.Name, done, total) }}
	var in io.Reader = meter
	if h != nil {
		in = io.TeeReader(in, h)
	}
	if err := write(f, in); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return &brokenError{fmt.Errorf("%s: download the image %s: %w", i.region, i.ID, err)}
	}
	if meter.Done != i.SizeBytes {
		return &brokenError{fmt.Errorf("%s: the image %s has %d bytes, and %d came", i.region, i.ID, i.SizeBytes, meter.Done)}
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
