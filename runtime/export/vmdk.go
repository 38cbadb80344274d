package export

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
)

var vmdkSparse = Format{
	Name: "vmdk-sparse", Ext: "-sparse.vmdk", From: FromDisk, tools: []tool{qemuImg},
	Doc: "VMware's growing disk (monolithicSparse), for Workstation and Fusion.",
	write: func(ctx context.Context, j *job, out string) error {
		if err := convert(ctx, j, out, "vmdk", "-o", "subformat=monolithicSparse,adapter_type=lsilogic"); err != nil {
			return err
		}
		// The descriptor, a text after the header, begins with a random content
		// identifier.
		return patch(out, 512, 512, func(b []byte) error {
			mark := []byte("\nCID=")
			i := bytes.Index(b, mark)
			if i < 0 {
				return errors.New("no CID in the descriptor")
			}
			copy(b[i+len(mark):], j.vmdkCID())
			return nil
		})
	},
}

// vmdkCID returns the eight digits of a content identifier. 0xffffffff and
// 0xfffffffe have meanings of their own.
func (j *job) vmdkCID() string {
	d := j.derive("vmdk")
	return hex.EncodeToString([]byte{d[0] & 0x7f, d[1], d[2], d[3]})
}
