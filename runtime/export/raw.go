package export

import (
	"context"

	"bake.build/bake/runtime/disk/drivers"
)

var raw = Format{
	Name: "raw", Ext: ".raw", From: FromDisk, RunsOn: &drivers.KVM,
	Doc: "The disk as it is, in a sparse file.",
	// Run makes the disk itself under the file's name.
	Write: func(context.Context, *Job, string) error { return nil },
}
