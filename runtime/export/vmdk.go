package export

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"slices"
)

var vmdkSparse = Format{
	Name: "vmdk-sparse", Ext: "-sparse.vmdk", From: FromDisk, Tools: []Tool{qemuImg},
	Doc: "VMware's growing disk (monolithicSparse), for Workstation and Fusion.",
	Write: func(ctx context.Context, j *Job, out string) error {
		if err := convert(ctx, j, out, "vmdk", "-o", "subformat=monolithicSparse,adapter_type=lsilogic"); err != nil {
			return err
		}
		return patch(out, vmdkSector, descSectors*vmdkSector, func(b []byte) error { return setCID(b, j.vmdkCID()) })
	},
}

// setCID replaces the content identifier in a descriptor, a text that ends
// with a zero. qemu-img makes it at random and without leading zeros, and more
// than once: the text behind it may move, and leave its old end behind the zero.
func setCID(b []byte, cid string) error {
	mark := []byte("\nCID=")
	text, _, _ := bytes.Cut(b, []byte{0})
	head, rest, ok := bytes.Cut(text, mark)
	_, tail, ok2 := bytes.Cut(rest, []byte("\n"))
	if !ok || !ok2 {
		return errors.New("no CID in the descriptor")
	}
	text = slices.Concat(head, mark, []byte(cid), []byte("\n"), tail)
	if len(text) > len(b) {
		return errors.New("the descriptor is full")
	}
	clear(b[copy(b, text):])
	return nil
}

// vmdkCID returns the eight digits of a content identifier. 0xffffffff and
// 0xfffffffe have meanings of their own.
func (j *Job) vmdkCID() string {
	d := j.Derive("vmdk")
	return hex.EncodeToString([]byte{d[0] & 0x7f, d[1], d[2], d[3]})
}
