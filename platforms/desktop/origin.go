package desktop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image"
	"bake.build/bake/platforms/image/fetch"
	"bake.build/bake/platforms/installer"
)

// Origin are the options of source() that all desktop hypervisors take. A platform embeds
// them in its own.
type Origin struct {
	Disk   string `bake:"disk,path,origin" json:"disk,omitempty" help:"A disk image, as qcow2, raw, vmdk, vdi, vhd or vhdx, also compressed with gzip, zstd, xz or bzip2. It is a path, a URL, oci://HOST/REPOSITORY:TAG for an OCI artifact in a registry, or an artifact of this definition."`
	OVA    string `bake:"ova,path,origin" json:"ova,omitempty" help:"An OVA: a path, a URL or an artifact. The machine is as its descriptor says, where options of the platform do not say otherwise."`
	OVF    string `bake:"ovf,path,origin" json:"ovf,omitempty" help:"The folder of an OVF package: a path or an artifact."`
	Box    string `bake:"box,path,origin" json:"box,omitempty" help:"A box of Vagrant: a path, a URL or an artifact."`
	ISO    string `bake:"iso,path,origin" json:"iso,omitempty" help:"An installer: the path or the URL of its ISO image. It is started, told what to do by boot_command, and has done its work when it shuts the machine down."`
	SHA256 string `bake:"sha256" json:"sha256,omitempty" help:"The SHA-256 that the file must have, in hex."`
	SHA512 string `bake:"sha512" json:"sha512,omitempty" help:"The SHA-512 that the file must have, in hex."`

	Checksums string `bake:"checksums,path" json:"checksums,omitempty" help:"A list of checksums that has the file's, as sha256sum and sha512sum write it: a path, or a URL, whose digest of the file is pinned."`

	installer.Options
}

// location returns the option of the origin's kind.
func (o Origin) location(kind string) string {
	return map[string]string{"disk": o.Disk, "ova": o.OVA, "ovf": o.OVF, "box": o.Box, "iso": o.ISO}[kind]
}

// decode returns the options of o, and the file that it names.
func (d *Driver) decode(o platforms.Origin) (opts Origin, f image.File, err error) {
	if err := o.Decode(&opts); err != nil {
		return opts, f, fmt.Errorf("%s: options: %w", o.Kind, err)
	}
	digests := image.Digests{SHA256: opts.SHA256, SHA512: opts.SHA512, Checksums: opts.Checksums}
	if err := errors.Join(opts.Options.Check(d.name, o.Kind, o.Paths), digests.Check(o.Paths["checksums"])); err != nil {
		return opts, f, &platforms.OptionError{Err: err}
	}
	f, err = image.FileOf(o, opts.location(o.Kind), digests)
	return opts, f, err
}

// Pin implements platforms.Driver.
func (d *Driver) Pin(ctx context.Context, o platforms.Origin) (platforms.Origin, error) {
	_, f, err := d.decode(o)
	if err != nil {
		return o, err
	}
	o.Pin, err = f.Pin(ctx, o, d.host)
	return o, err
}

// PinName implements platforms.PinNamer.
func (d *Driver) PinName(o platforms.Origin) string {
	var opts Origin
	if err := o.Decode(&opts); err != nil {
		return ""
	}
	if l := opts.location(o.Kind); l != "" {
		return o.Kind + " " + fetch.Redacted(l)
	}
	return ""
}

// Import implements platforms.Driver.
func (d *Driver) Import(ctx context.Context, o platforms.Origin, dir string, out platforms.Logger) (made platforms.Made, err error) {
	opts, f, err := d.decode(o)
	if err != nil {
		return made, err
	}
	path, err := f.Verified(ctx, d.host, out)
	if err != nil {
		return made, err
	}
	var h hardware.Options
	if o.Kind == "iso" {
		h, err = d.install(ctx, opts, o, path, dir, out)
	} else {
		h, err = d.importFile(ctx, o.Kind, path, dir, out)
	}
	if err != nil {
		return made, fmt.Errorf("%s %s: %w", o.Kind, f.Name, err)
	}
	return platforms.Made{Ref: newRef(), Traits: traits(h)}, nil
}

// Adopt makes a first layer of whole media in the hypervisor's format, which it moves to
// dir, for origins that a platform has alone. h is what the machine is made of, and nvram
// the file with its UEFI variables, or "".
func (d *Driver) Adopt(ctx context.Context, media []string, h hardware.Options, nvram, dir string) (made platforms.Made, err error) {
	for i, path := range media {
		if err := os.Rename(path, filepath.Join(dir, d.mediumName(i))); err != nil {
			return made, err
		}
	}
	if nvram != "" {
		if err := copyFile(ctx, filepath.Join(dir, nvramName), nvram); err != nil {
			return made, err
		}
	}
	for _, f := range []func() error{
		func() error { return os.WriteFile(filepath.Join(dir, untouchedName), nil, 0o644) },
		func() error { return about{Disks: len(media), Hardware: h}.write(dir) },
	} {
		if err := f(); err != nil {
			return made, err
		}
	}
	return platforms.Made{Ref: newRef(), Traits: traits(d.settings.hardware(h))}, nil
}

// importFile makes a first layer of a disk, or of what describes a machine. The folder of
// scratch files is on the store's file system.
func (d *Driver) importFile(ctx context.Context, kind, path, dir string, out platforms.Logger) (_ hardware.Options, err error) {
	scratch, remove, err := d.host.TempDir("disk")
	if err != nil {
		return hardware.Options{}, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if path, err = image.Unpack(ctx, path, scratch, telling(out, "decompress the disk")); err != nil {
		return hardware.Options{}, err
	}
	m, err := image.OpenOrigin(path)
	switch {
	case err != nil:
		return hardware.Options{}, err
	case m == nil && kind != "disk":
		return hardware.Options{}, errors.New("does not describe a machine: give it as disk")
	}
	a := about{Disks: 1}
	if m != nil {
		defer func() { err = errors.Join(err, m.Close()) }()
		if a = (about{Disks: len(m.Disks), Hardware: m.Hardware}); a.Disks > mostDisks {
			return a.Hardware, fmt.Errorf("the %s has %d disks: bake takes %d", m.Kind, a.Disks, mostDisks)
		}
	}
	h := d.settings.hardware(a.Hardware)
	for i := range a.Disks {
		if err := d.importDisk(ctx, m, i, path, dir, scratch, out); err != nil {
			return h, err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, untouchedName), nil, 0o644); err != nil {
		return h, err
	}
	return h, a.write(dir)
}

// importDisk makes the medium of disk i: that of a described machine, or of the one disk
// at path where m is nil.
func (d *Driver) importDisk(ctx context.Context, m *image.Machine, i int, path, dir, scratch string, out platforms.Logger) (err error) {
	capacity := int64(0)
	if m != nil {
		if path, err = m.Disk(ctx, i, scratch, telling(out, "extract the disk")); err != nil {
			return err
		}
		capacity = m.Disks[i].Capacity
	}
	raw, own, err := d.raw(ctx, path, capacity, filepath.Join(scratch, fmt.Sprintf("disk%d.raw", i)), out)
	if err == nil && !own && i == 0 {
		err = image.LooksLikeDisk(raw)
	}
	if err != nil {
		return err
	}
	if size := d.settings.diskSize; size > 0 && i == 0 {
		if raw, err = grow(ctx, raw, own, size, scratch); err != nil {
			return err
		}
	}
	out.Progress("write the disk", 0, 0)
	return WriteMedium(ctx, d.hv.Media(), filepath.Join(dir, d.mediumName(i)), raw)
}

// telling returns what is told how much of something was done.
func telling(out platforms.Logger, what string) func(done, total int64) {
	return func(done, total int64) { out.Progress(what, done, total) }
}
