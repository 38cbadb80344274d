package export

import (
	"context"
	"fmt"

	"bake.build/bake/runtime/disk/drivers"
)

var qcow2 = Format{
	Name: "qcow2", Ext: ".qcow2", From: FromDisk, RunsOn: &drivers.KVM, Tools: []Tool{qemuImg},
	Doc: "QEMU's own format, for KVM and OpenStack; compressed with zstd; with compression = \"zlib\" for VirtualBox, older clouds and readers older than QEMU 5.1.",
	Write: func(ctx context.Context, j *Job, out string) error {
		switch c := j.op.Compression; c {
		case "none":
			return convert(ctx, j, out, "qcow2")
		case "", "zstd", "zlib":
			if c == "" {
				c = "zstd"
			}
			return convert(ctx, j, out, "qcow2", "-c", "-o", "compression_type="+c)
		default:
			return fmt.Errorf("compression %q: qcow2 knows zstd, zlib and none", c)
		}
	},
}
