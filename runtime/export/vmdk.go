package export

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"bake.build/bake/runtime/disk/drivers"
)

var vmdkSparse = Format{
	Name: "vmdk-sparse", Ext: "-sparse.vmdk", From: FromDisk, RunsOn: &drivers.VMware, Tools: []Tool{qemuImg},
	Doc: "VMware's growing disk (monolithicSparse), for Workstation and Fusion.",
	Write: func(ctx context.Context, j *Job, out string) error {
		if err := convert(ctx, j, out, "vmdk", "-o", "subformat=monolithicSparse,adapter_type=lsilogic"); err != nil {
			return err
		}
		id := j.vmdkIdentity("vmdk-sparse")
		return patch(out, vmdkSector, descSectors*vmdkSector, func(b []byte) error { return setIdentity(b, id) })
	},
}

// A vmdkIdentity is what tells a VMDK from others. Readers of VMware compare content
// identifiers; VirtualBox refuses to open a disk without a UUID of the image.
type vmdkIdentity struct {
	cid  string // eight digits: the end of the long one
	long string
	uuid string
}

// vmdkIdentity derives the identity of a VMDK of a format. The content identifiers
// 0xffffffff and 0xfffffffe have meanings of their own.
func (j *Job) vmdkIdentity(format string) vmdkIdentity {
	d := j.Derive(format)
	d[12] &= 0x7f
	long := hex.EncodeToString(d[:16])
	return vmdkIdentity{cid: long[24:], long: long, uuid: formatUUID(d[16:])}
}

// formatUUID writes 16 bytes as a random UUID.
func formatUUID(b []byte) string {
	u := uuid(bytes.Clone(b))
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// database returns the lines of the disk data base that hold the identity.
func (id vmdkIdentity) database() string {
	const none = "00000000-0000-0000-0000-000000000000"
	return fmt.Sprintf(`ddb.longContentID = "%s"
ddb.uuid.image = "%s"
ddb.uuid.modification = "%s"
ddb.uuid.parent = "%s"
ddb.uuid.parentmodification = "%s"
`, id.long, id.uuid, none, none, none)
}

// setIdentity replaces the content identifier in a description, a text that ends
// with a zero, and adds the rest. qemu-img makes the identifier at random and
// without leading zeros, and more than once: the text behind it may move, and leave
// its old end behind the zero.
func setIdentity(b []byte, id vmdkIdentity) error {
	mark := []byte("\nCID=")
	text, _, _ := bytes.Cut(b, []byte{0})
	head, rest, ok := bytes.Cut(text, mark)
	_, tail, ok2 := bytes.Cut(rest, []byte("\n"))
	if !ok || !ok2 {
		return errors.New("no CID in the description")
	}
	text = slices.Concat(head, mark, []byte(id.cid), []byte("\n"), bytes.TrimRight(tail, "\n"), []byte("\n"+id.database()))
	if len(text) > len(b) {
		return errors.New("the description is full")
	}
	clear(b[copy(b, text):])
	return nil
}
