package export

import (
	"context"
	"errors"

	"bake.build/bake/runtime/disk/drivers"
)

var vdi = Format{
	Name: "vdi", Ext: ".vdi", From: FromDisk, RunsOn: &drivers.VirtualBox, Tools: []Tool{qemuImg},
	Doc: "VirtualBox's own format, growing.",
	Write: func(ctx context.Context, j *Job, out string) error {
		if err := convert(ctx, j, out, "vdi"); err != nil {
			return err
		}
		// Two UUIDs like random ones, of the image and of its last snapshot, as of
		// VirtualBox' VDIHEADER1.
		const signature, imageID = 0x40, 0x188
		return patch(out, 0, 512, func(b []byte) error {
			if string(b[signature:][:4]) != "\x7f\x10\xda\xbe" {
				return errors.New("not a VDI")
			}
			id := j.Derive("vdi")
			copy(b[imageID:], uuid(id[:16]))
			copy(b[imageID+16:], uuid(id[16:]))
			return nil
		})
	},
}

// uuid sets the bits of a random UUID (RFC 9562, version 4).
func uuid(b []byte) []byte {
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return b[:16]
}
