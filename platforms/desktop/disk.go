package desktop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/hypervisor"
	"bake.build/bake/platforms/seed"
)

// Disk implements platforms.Disker. The machine that was left on the chain's last
// layer, or a new one, removes the traces of the build and shuts down; what it wrote is
// part of the disk and of no layer.
//
// A disk on which no step ran leaves as it came.
func (d *Driver) Disk(ctx context.Context, chain []platforms.Layer, dst string, out platforms.Logger) (err error) {
	copying := telling(out, "copy the disk")
	if len(chain) == 1 {
		if _, err := os.Stat(filepath.Join(chain[0].Dir, untouchedName)); err == nil {
			return ReadMedia(ctx, d.hv.Media(), d.chainOf(chain, 0), dst, copying)
		}
	}
	m, err := d.open(ctx, chain, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.End()) }()
	out.Progress("shut the machine down", 0, 0)
	if err := m.shutDown(ctx); err != nil {
		return err
	}
	if _, err := m.freeze(ctx); err != nil {
		return err
	}
	return ReadMedia(ctx, d.hv.Media(), m.chains[0], dst, copying)
}

// shutDown removes what the build has left in the machine, and shuts it down.
func (m *machine) shutDown(ctx context.Context) error {
	said := &hypervisor.Output{}
	err := m.ssh.Run(ctx, platforms.Cmd{
		Args: []string{"sh"}, Stdin: strings.NewReader(seed.Clean()), Stdout: said, Stderr: said,
	})
	if err != nil {
		return fmt.Errorf("remove the traces of the build: %w: %s", err, said.Why(err))
	}
	m.stop() // what watches the machine: its end is expected
	m.beside.Wait()
	ctx, cancel := context.WithTimeoutCause(ctx, shutdownTimeout, fmt.Errorf("the machine does not shut down within %v", shutdownTimeout))
	defer cancel()
	running, stop := context.WithCancel(ctx)
	down := make(chan struct{})
	go func() {
		defer close(down)
		// The command may not live to tell that it ended.
		_ = m.ssh.Run(running, platforms.Cmd{Args: []string{"sh", "-c", shutDownScript}})
	}()
	err = m.awaitEnd(ctx)
	stop()
	<-down
	if err != nil {
		return fmt.Errorf("shut down: %w%s", err, m.tailText())
	}
	m.Fail(errShutDown)
	return nil
}

// shutDownScript ends the machine in order.
const shutDownScript = `if command -v systemctl >/dev/null; then systemctl --no-block poweroff
elif command -v poweroff >/dev/null; then poweroff
else shutdown -h now; fi`
