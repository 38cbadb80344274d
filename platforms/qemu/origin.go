package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"bake.build/bake/internal/sparse"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image"
	"bake.build/bake/platforms/image/fetch"
	"bake.build/bake/platforms/installer"
)

// Origin are the options of source() on this platform.
type Origin struct {
	Disk   string `bake:"disk,path,origin" json:"disk,omitempty" help:"A disk image, as qcow2, raw, vmdk, vdi, vhd or vhdx, or a machine with its disks: an OVA, a folder with an OVF or VMX file, a Vagrant box. Also compressed with gzip, zstd, xz or bzip2. It is a path, a URL, oci://HOST/REPOSITORY:TAG for an OCI artifact in a registry, or an artifact of this definition."`
	ISO    string `bake:"iso,path,origin" json:"iso,omitempty" help:"An installer: the path or the URL of its ISO image. It is started, told what to do by boot_command, and has done its work when it shuts the machine down or restarts it."`
	SHA256 string `bake:"sha256" json:"sha256,omitempty" help:"The SHA-256 that the file must have, in hex."`
	SHA512 string `bake:"sha512" json:"sha512,omitempty" help:"The SHA-512 that the file must have, in hex."`

	Checksums string `bake:"checksums,path" json:"checksums,omitempty" help:"A list of checksums that has the file's, as sha256sum and sha512sum write it: a path, or a URL, whose digest of the file is pinned."`

	installer.Options
}

// check finds options that mean nothing for the kind of origin.
func (o Origin) check(kind string, paths map[string]string) error {
	if err := o.Options.Check(Name, kind, paths); err != nil {
		return err
	}
	return o.digests().Check(paths["checksums"])
}

func (o Origin) digests() image.Digests {
	return image.Digests{SHA256: o.SHA256, SHA512: o.SHA512, Checksums: o.Checksums}
}

// decode returns the options of o, and the file that it names.
func decode(o platforms.Origin) (opts Origin, f image.File, err error) {
	if err := o.Decode(&opts); err != nil {
		return opts, f, fmt.Errorf("%s: options: %w", o.Kind, err)
	}
	if err := opts.check(o.Kind, o.Paths); err != nil {
		return opts, f, &platforms.OptionError{Err: err}
	}
	location := opts.Disk
	if o.Kind == "iso" {
		location = opts.ISO
	}
	f, err = image.FileOf(o, location, opts.digests())
	return opts, f, err
}

// Pin implements platforms.Driver.
func (d *driver) Pin(ctx context.Context, o platforms.Origin) (platforms.Origin, error) {
	_, f, err := decode(o)
	if err != nil {
		return o, err
	}
	o.Pin, err = f.Pin(ctx, o, d.host)
	return o, err
}

// PinName implements platforms.PinNamer.
func (d *driver) PinName(o platforms.Origin) string {
	var opts Origin
	if err := o.Decode(&opts); err != nil {
		return ""
	}
	switch {
	case o.Kind == "disk" && opts.Disk != "":
		return "disk " + fetch.Redacted(opts.Disk)
	case o.Kind == "iso" && opts.ISO != "":
		return "iso " + fetch.Redacted(opts.ISO)
	}
	return ""
}

// Import implements platforms.Driver.
func (d *driver) Import(ctx context.Context, o platforms.Origin, dir string, out platforms.Logger) (platforms.Made, error) {
	opts, f, err := decode(o)
	if err != nil {
		return platforms.Made{}, err
	}
	path, err := f.Verified(ctx, d.host, out)
	if err != nil {
		return platforms.Made{}, err
	}
	if o.Kind == "iso" {
		err = d.install(ctx, opts, o, path, dir, out)
	} else if err = d.importFile(ctx, path, dir, out); err == nil {
		err = os.WriteFile(filepath.Join(dir, untouchedName), nil, 0o644)
	}
	if err != nil {
		return platforms.Made{}, fmt.Errorf("%s %s: %w", o.Kind, f.Name, err)
	}
	return platforms.Made{Ref: newRef(), Traits: d.settings.traits()}, nil
}

// Describe implements platforms.Describer: whatever it begins with, a machine is what
// the options say.
func (d *driver) Describe(context.Context, platforms.Origin) (platforms.Traits, error) {
	return d.settings.traits(), nil
}

// importFile is importAny for a file that may be compressed.
func (d *driver) importFile(ctx context.Context, path, dir string, out platforms.Logger) (err error) {
	scratch, remove, err := d.host.TempDir("disk")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if path, err = image.Unpack(ctx, path, scratch, decompressing(out)); err != nil {
		return err
	}
	return d.importAny(ctx, path, dir, out)
}

// importAny makes the images of a first layer from the image of a disk, or from what
// describes a machine.
func (d *driver) importAny(ctx context.Context, path, dir string, out platforms.Logger) (err error) {
	m, err := image.OpenOrigin(path)
	if err != nil {
		return err
	}
	if m == nil {
		return d.importDisk(ctx, path, dir, out)
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	return d.importMachine(ctx, m, dir, out)
}

// importDisk makes the images of a first layer from the image of its first disk.
func (d *driver) importDisk(ctx context.Context, path, dir string, out platforms.Logger) error {
	if err := d.importImage(ctx, path, dir, 0, out); err != nil {
		return err
	}
	return d.addDisks(ctx, dir)
}

// importImage makes disk i of a first layer.
func (d *driver) importImage(ctx context.Context, path, dir string, i int, out platforms.Logger) error {
	source, err := image.Open(path, "")
	if err != nil {
		return err
	}
	if source.Driver == "raw" && i == 0 {
		if err := image.LooksLikeDisk(path); err != nil {
			return err
		}
	}
	if err := image.CheckWhole(ctx, source); err != nil {
		return err
	}
	size := d.settings.diskSize
	if i > 0 {
		size = 0
	}
	if size != 0 && size < source.Size {
		return fmt.Errorf("the disk has %s, which does not fit in disk_size = %q", platforms.FormatSize(source.Size), platforms.FormatSize(size))
	}
	dst := filepath.Join(dir, diskName(i))
	out.Progress("copy the disk", 0, source.Size)
	if source.Driver == "qcow2" {
		err = copyWhole(ctx, dst, path)
	} else {
		err = convert(ctx, source, "qcow2", dst)
	}
	if err != nil {
		return err
	}
	if size > source.Size {
		return resize(ctx, dst, size)
	}
	return nil
}

// addDisks makes the further, empty disks of a first layer, and its variable
// store.
func (d *driver) addDisks(ctx context.Context, dir string) error {
	for i, size := range d.settings.disks {
		if err := createImage(ctx, filepath.Join(dir, diskName(i+1)), size); err != nil {
			return err
		}
	}
	return d.addVariables(dir)
}

// addVariables makes the variable store of a first layer.
func (d *driver) addVariables(dir string) error {
	if !d.settings.firmware.uefi || exists(filepath.Join(dir, varsName)) {
		return nil
	}
	f, err := d.settings.firmware.find(d.settings.arch)
	if err != nil {
		return err
	}
	return f.copyTo(dir, "")
}

// copyWhole copies a file with its holes, sharing its blocks where the file system can.
func copyWhole(ctx context.Context, dst, src string) (err error) {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	return sparse.Clone(ctx, out, in)
}
