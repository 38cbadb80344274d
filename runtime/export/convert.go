package export

import (
	"context"
	"os"

	"bake.build/bake/platforms"
)

// Convert writes the raw image disk as the new file out in a format that is made
// from disks, and is not raw itself.
func Convert(ctx context.Context, f Format, disk, out string, sink platforms.Sink) error {
	info, err := os.Stat(disk)
	if err != nil {
		return err
	}
	j := newJob(&Request{Op: &Op{}, Sink: sink}, "", nil)
	j.disk, j.diskSize = disk, info.Size()
	return f.Write(ctx, j, out)
}
