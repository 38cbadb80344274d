package export

import "context"

var raw = Format{
	Name: "raw", Ext: ".raw", From: FromDisk,
	Doc: "The disk as it is, in a sparse file.",
	// Run makes the disk itself under the file's name.
	Write: func(context.Context, *Job, string) error { return nil },
}
