package fake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"bake.build/bake/platforms"
)

// The further calls of a VM.
const (
	Disk   Call = "disk"
	Launch Call = "launch"
	Reboot Call = "reboot"
)

// A VM is a Driver whose machines have what virtual machines have: a console, a
// port, a disk, and a way to start again. A disk is the tree as one file.
type VM struct{ Driver }

var (
	_ platforms.Disker     = (*VM)(nil)
	_ platforms.DiskTreer  = (*VM)(nil)
	_ platforms.Launcher   = (*VM)(nil)
	_ platforms.Rebooter   = (*vm)(nil)
	_ platforms.PortWaiter = (*vm)(nil)
	_ platforms.Consoler   = (*vm)(nil)
)

// Boot implements platforms.Driver.
func (d *VM) Boot(ctx context.Context, chain []platforms.Layer, out platforms.Logger) (platforms.Machine, error) {
	m, err := d.Driver.Boot(ctx, chain, out)
	if err != nil {
		return nil, err
	}
	return &vm{machine: m.(*machine)}, nil
}

// Disk implements platforms.Disker.
func (d *VM) Disk(ctx context.Context, chain []platforms.Layer, dst string, _ platforms.Logger) error {
	if len(chain) == 0 {
		return errors.New("disk: the chain has no layers")
	}
	last := chain[len(chain)-1]
	if err := d.call(ctx, Disk, last.Key); err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(last.Dir, stateName))
	if err != nil {
		return err
	}
	return os.WriteFile(dst, b, 0o600)
}

// CheckDiskTree implements platforms.DiskTreer: nothing is missing.
func (d *VM) CheckDiskTree() []platforms.Problem { return nil }

// DiskTree implements platforms.DiskTreer.
func (d *VM) DiskTree(ctx context.Context, disk string, use func(dir string) error) error {
	if err := d.call(ctx, Tree, disk); err != nil {
		return err
	}
	t, err := loadFile(disk)
	if err != nil {
		return err
	}
	return t.show(use)
}

// Launch implements platforms.Launcher.
func (d *VM) Launch(ctx context.Context, i platforms.Image, _ platforms.Logger) (platforms.Machine, error) {
	if err := d.call(ctx, Launch, i.Path); err != nil {
		return nil, err
	}
	t, err := loadFile(i.Path)
	if err != nil {
		return nil, err
	}
	return &vm{machine: d.opened(t), launched: true}, nil
}

func loadFile(path string) (Files, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var t Files
	if err := json.Unmarshal(b, &t); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return t, nil
}

// A vm is a machine of a VM.
type vm struct {
	*machine
	launched bool
}

// consolePath is where commands write to the console.
const consolePath = "/dev/console"

// Commit implements platforms.Machine.
func (m *vm) Commit(ctx context.Context, s platforms.State) (platforms.Made, error) {
	if m.launched {
		return platforms.Made{}, errors.New("commit: the machine of an image makes no layers")
	}
	return m.machine.Commit(ctx, s)
}

// Reboot implements platforms.Rebooter.
func (m *vm) Reboot(ctx context.Context) error {
	_, done, err := m.begin(ctx, Reboot, "")
	if err == nil {
		done()
	}
	return err
}

// WaitPort implements platforms.PortWaiter: something listens on port 22 only.
func (m *vm) WaitPort(ctx context.Context, port int) error {
	if port != 22 {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return nil
}

// WaitConsole implements platforms.Consoler.
func (m *vm) WaitConsole(ctx context.Context, match *regexp.Regexp) error {
	for {
		for _, line := range m.ConsoleTail() {
			if match.MatchString(line) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Millisecond):
		}
	}
}

// ConsoleTail implements platforms.Consoler.
func (m *vm) ConsoleTail() []string {
	m.driver.mu.Lock()
	defer m.driver.mu.Unlock()
	return strings.Split(strings.TrimSuffix(string(m.console), "\n"), "\n")
}

// AttachConsole implements platforms.Consoler: it shows what there is.
func (m *vm) AttachConsole(_ context.Context, _ io.Reader, out io.Writer) error {
	_, err := io.WriteString(out, strings.Join(m.ConsoleTail(), "\n")+"\n")
	return err
}
