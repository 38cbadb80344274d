package export

import (
	"context"
	"encoding/binary"
	"errors"
)

var vhd = Format{
	Name: "vhd", Ext: ".vhd", From: FromDisk, Tools: []Tool{qemuImg},
	Doc: "Microsoft's VHD of fixed size, a whole number of MiB as Azure wants it.",
	Write: func(ctx context.Context, j *Job, out string) error {
		if err := convert(ctx, j, out, "vpc", "-o", "subformat=fixed,force_size=on"); err != nil {
			return err
		}
		return patch(out, -vhdFooter, vhdFooter, j.vhdIdentity)
	},
}

var vhdDynamic = Format{
	Name: "vhd-dynamic", Ext: "-dynamic.vhd", From: FromDisk, Tools: []Tool{qemuImg},
	Doc: "Microsoft's VHD, growing, for Hyper-V.",
	Write: func(ctx context.Context, j *Job, out string) error {
		if err := convert(ctx, j, out, "vpc", "-o", "subformat=dynamic,force_size=on"); err != nil {
			return err
		}
		// The footer has a copy at the file's beginning.
		if err := patch(out, 0, vhdFooter, j.vhdIdentity); err != nil {
			return err
		}
		return patch(out, -vhdFooter, vhdFooter, j.vhdIdentity)
	},
}

const vhdFooter = 512 // bytes

// vhdIdentity replaces the time and the random identifier in a footer, as of
// Microsoft's Virtual Hard Disk Image Format Specification, version 1.0.
func (j *Job) vhdIdentity(b []byte) error {
	const cookie, timestamp, checksum, id = 0, 24, 64, 68
	if string(b[cookie:][:8]) != "conectix" {
		return errors.New("not a VHD footer")
	}
	binary.BigEndian.PutUint32(b[timestamp:], 0)
	d := j.Derive("vhd")
	copy(b[id:], uuid(d[:16]))
	binary.BigEndian.PutUint32(b[checksum:], 0)
	sum := uint32(0)
	for _, c := range b {
		sum += uint32(c)
	}
	binary.BigEndian.PutUint32(b[checksum:], ^sum)
	return nil
}
