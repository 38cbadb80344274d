package export

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/disk/drivers"
)

var vhd = Format{
	Name: "vhd", Ext: ".vhd", From: FromDisk, RunsOn: &drivers.HyperV, Tools: []Tool{qemuImg},
	Doc: "Microsoft's VHD of fixed size, a whole number of MiB as Azure wants it.",
	Write: func(ctx context.Context, j *Job, out string) error {
		size, err := j.vhdSize()
		if err != nil {
			return err
		}
		if err := convert(ctx, j, out, "vhd", "-o", "subformat=fixed,force_size=on"); err != nil {
			return err
		}
		if err := moveFooter(out, size); err != nil {
			return err
		}
		return patch(out, -vhdFooter, vhdFooter, j.vhdIdentity("vhd", size))
	},
}

var vhdDynamic = Format{
	Name: "vhd-dynamic", Ext: "-dynamic.vhd", From: FromDisk, RunsOn: &drivers.HyperV, Tools: []Tool{qemuImg},
	Doc: "Microsoft's VHD, growing, for Hyper-V.",
	Write: func(ctx context.Context, j *Job, out string) error {
		size, err := j.vhdSize()
		if err != nil {
			return err
		}
		if err := convert(ctx, j, out, "vhd", "-o", "subformat=dynamic,force_size=on"); err != nil {
			return err
		}
		// The footer has a copy at the file's beginning. The tables need no change: they
		// count blocks of 2 MiB, of which a disk has as many when it is whole MiB.
		for _, at := range []int64{0, -vhdFooter} {
			if err := patch(out, at, vhdFooter, j.vhdIdentity("vhd-dynamic", size)); err != nil {
				return err
			}
		}
		return nil
	},
}

const (
	vhdFooter = 512        // bytes
	vhdMost   = 2040 << 30 // bytes that the tables of a VHD can name, and that readers take
)

// vhdSize returns the size of the disk in a VHD: whole MiB, since Azure and Hyper-V
// refuse others. A disk of a machine may have any number of sectors.
func (j *Job) vhdSize() (int64, error) {
	const mib = 1 << 20
	size := (j.diskSize + mib - 1) / mib * mib
	if size > vhdMost {
		return 0, fmt.Errorf("the disk has %s, and a VHD holds at most %s", platforms.FormatSize(size), platforms.FormatSize(vhdMost))
	}
	return size, nil
}

// moveFooter makes a VHD of fixed size larger: its footer goes to the new end.
func moveFooter(path string, size int64) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	was := info.Size() - vhdFooter
	if was == size {
		return nil
	}
	footer := make([]byte, vhdFooter)
	if _, err := f.ReadAt(footer, was); err != nil {
		return err
	}
	if err := f.Truncate(was); err != nil {
		return err
	}
	_, err = f.WriteAt(footer, size)
	return err
}

// vhdIdentity returns a change of a footer: it replaces the time, the random
// identifier and the size, as of Microsoft's Virtual Hard Disk Image Format
// Specification, version 1.0. The geometry stays the largest there is, by which
// readers know that the size is not to be worked out from it.
func (j *Job) vhdIdentity(format string, size int64) func(b []byte) error {
	const cookie, timestamp, original, current, checksum, id = 0, 24, 40, 48, 64, 68
	be := binary.BigEndian
	return func(b []byte) error {
		if string(b[cookie:][:8]) != "conectix" {
			return errors.New("not a VHD footer")
		}
		be.PutUint32(b[timestamp:], 0)
		be.PutUint64(b[original:], uint64(size))
		be.PutUint64(b[current:], uint64(size))
		d := j.Derive(format)
		copy(b[id:], uuid(d[:16]))
		be.PutUint32(b[checksum:], 0)
		sum := uint32(0)
		for _, c := range b {
			sum += uint32(c)
		}
		be.PutUint32(b[checksum:], ^sum)
		return nil
	}
}
