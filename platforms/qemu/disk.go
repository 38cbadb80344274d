package qemu

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image"
	"bake.build/bake/platforms/seed"
)

// shutdownTimeout is how long a machine may take to shut down.
const shutdownTimeout = 3 * time.Minute

// untouchedName marks a first layer that is a user's disk, and not what an installer
// has made.
const untouchedName = "untouched"

// Disk implements platforms.Disker. The machine that was left on the chain's
// last layer, or a new one, removes the traces of the build and shuts down;
// what it wrote is part of the disk and of no layer.
//
// A disk on which no step ran leaves as it came: nothing of a build is on it, and
// it may hold nothing that boots.
func (d *driver) Disk(ctx context.Context, chain []platforms.Layer, dst string, out platforms.Logger) (err error) {
	if len(chain) == 1 && exists(filepath.Join(chain[0].Dir, untouchedName)) {
		top, err := sealed(chain, 0)
		if err != nil {
			return err
		}
		out.Progress("copy the disk", 0, 0)
		return convert(ctx, top, "raw", dst)
	}
	out.Progress("shut the machine down", 0, 0)
	m, err := d.open(ctx, chain, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.end()) }()
	if err := m.shutDown(ctx); err != nil {
		return err
	}
	// The layers lie elsewhere than where this machine may have made them.
	below, err := d.shortened(chain, 0)
	if err != nil {
		return err
	}
	top, err := image.Open(m.hw.overlays[0].File.Path, "qcow2")
	if err != nil {
		return err
	}
	top.Backing = below
	out.Progress("copy the disk", 0, m.sizes[0])
	return convert(ctx, top, "raw", dst)
}

// FurtherDisks implements platforms.FurtherDisker.
func (d *driver) FurtherDisks(context.Context, []platforms.Layer) (int, error) {
	return len(d.settings.disks), nil
}

// FurtherDisk implements platforms.FurtherDisker. Nothing of the build is on such a
// disk, and its file systems were frozen or synced for the layer: no machine is
// started for it.
func (d *driver) FurtherDisk(ctx context.Context, chain []platforms.Layer, n int, dst string, out platforms.Logger) error {
	top, err := sealed(chain, n)
	if err != nil {
		return err
	}
	out.Progress(fmt.Sprintf("copy the disk %d", n+1), 0, 0)
	return convert(ctx, top, "raw", dst)
}

// shutDown removes what the build has left in the machine, and shuts it down.
func (m *machine) shutDown(ctx context.Context) error {
	said := newOutput()
	err := m.ssh.Run(ctx, platforms.Cmd{
		Args: []string{"sh"}, Stdin: strings.NewReader(seed.Clean()), Stdout: said, Stderr: said,
	})
	if err != nil {
		return fmt.Errorf("remove the traces of the build: %w: %s", err, said.Why(err))
	}
	ctx, cancel := context.WithTimeoutCause(ctx, shutdownTimeout, fmt.Errorf("the machine does not shut down within %v", shutdownTimeout))
	defer cancel()
	// The command may not live to tell that it ended.
	down := make(chan error, 1)
	go func() { down <- m.ssh.Run(ctx, platforms.Cmd{Args: []string{"sh", "-c", shutDownScript}}) }()
	if err := m.vm.awaitEnd(ctx); err != nil {
		return fmt.Errorf("shut down: %w%s", err, tailText(m.vm.console.Tail()))
	}
	<-down // the machine is gone, whatever it says
	return nil
}

// shutDownScript ends the machine in order.
const shutDownScript = `if command -v systemctl >/dev/null; then systemctl --no-block poweroff
elif command -v poweroff >/dev/null; then poweroff
else shutdown -h now; fi`

// tailText shows the last lines of a console in an error.
func tailText(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return "\nthe console's last lines:\n  " + strings.Join(lines, "\n  ")
}

// shortened returns disk i of the chain, with a merged image in place of its
// lower layers where there is one.
func (d *driver) shortened(chain []platforms.Layer, i int) (*node, error) {
	from, merged, err := d.merged(chain, i)
	if err != nil || merged == nil {
		return sealed(chain, i)
	}
	top := merged
	for _, l := range chain[from:] {
		below := top
		if top, err = image.Open(filepath.Join(l.Dir, diskName(i)), "qcow2"); err != nil {
			return nil, fmt.Errorf("layer %s: %w", l.Key, err)
		}
		top.Backing = below
	}
	return top, nil
}
