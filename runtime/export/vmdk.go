package export

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"bake.build/bake/internal/vmdk"
	"bake.build/bake/runtime/disk/drivers"
)

var vmdkSparse = Format{
	Name: "vmdk-sparse", Ext: "-sparse.vmdk", From: FromDisk, RunsOn: &drivers.VMware, Tools: []Tool{qemuImg},
	Doc:   "VMware's growing disk (monolithicSparse), for Workstation and Fusion.",
	Write: func(ctx context.Context, j *Job, out string) error { return j.writeSparseVMDK(ctx, "vmdk-sparse", out) },
}

// writeSparseVMDK writes the disk as a growing VMDK of a format.
func (j *Job) writeSparseVMDK(ctx context.Context, format, out string) error {
	if err := convert(ctx, j, out, "vmdk", "-o", "subformat=monolithicSparse,adapter_type=lsilogic"); err != nil {
		return err
	}
	id := vmdk.IdentityOf(j.Derive(format))
	return patch(out, vmdk.Sector, vmdk.DescSectors*vmdk.Sector, func(b []byte) error { return setIdentity(b, id) })
}

// vmdkStream is VMware's compressed disk, which is written by this process.
var vmdkStream = Format{
	Name: "vmdk", Ext: ".vmdk", From: FromDisk, RunsOn: &drivers.VMware, Streams: true,
	Doc: "VMware's compressed disk (streamOptimized), for vSphere, OVAs and imports into clouds.",
	Write: func(ctx context.Context, j *Job, out string) error {
		return j.newFile(out, func(f *os.File) error { return j.streamOptimized(ctx, f, "vmdk", filepath.Base(out)) })
	},
}

// setIdentity replaces the content identifier in a description, a text that ends
// with a zero, and adds the rest. qemu-img makes the identifier at random and
// without leading zeros, and more than once: the text behind it may move, and leave
// its old end behind the zero.
func setIdentity(b []byte, id vmdk.Identity) error {
	mark := []byte("\nCID=")
	text, _, _ := bytes.Cut(b, []byte{0})
	head, rest, ok := bytes.Cut(text, mark)
	_, tail, ok2 := bytes.Cut(rest, []byte("\n"))
	if !ok || !ok2 {
		return errors.New("no CID in the description")
	}
	text = slices.Concat(head, mark, []byte(id.CID), []byte("\n"), bytes.TrimRight(tail, "\n"), []byte("\n"+id.Database()))
	if len(text) > len(b) {
		return errors.New("the description is full")
	}
	clear(b[copy(b, text):])
	return nil
}
