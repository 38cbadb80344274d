package virtualbox

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"bake.build/bake/platforms/desktop"
	"bake.build/bake/platforms/installer"
)

// A vm is one machine.
type vm struct {
	place
	spec      desktop.Spec
	slots     []string    // of the disks, as showvminfo names them
	ports     map[int]int // of this host, by the machine's
	snapshots int
}

var (
	_ desktop.VM        = (*vm)(nil)
	_ desktop.Keyboard  = (*vm)(nil)
	_ desktop.Variables = (*vm)(nil)
)

// removeLimit is how long a machine may take to be turned off.
const removeLimit = 20 * time.Second

// Start implements desktop.VM.
func (v *vm) Start(ctx context.Context) error {
	kind := "headless"
	if v.spec.GUI {
		kind = "gui"
	}
	_, err := v.manage().Call(ctx, "startvm", v.uuid, "--type", kind)
	if err == nil {
		return nil
	}
	if text, logErr := os.ReadFile(v.log()); logErr == nil && trimLog(string(text)) != "" {
		return fmt.Errorf("%w\nVBox.log:\n%s", err, trimLog(string(text)))
	}
	return err
}

// Stop implements desktop.VM.
func (v *vm) Stop(ctx context.Context) error {
	if _, err := v.manage().Call(ctx, "controlvm", v.uuid, "poweroff"); err != nil && !notRunning(err) {
		return err
	}
	return nil
}

// Running implements desktop.VM.
func (v *vm) Running(ctx context.Context) (bool, error) {
	all, err := v.info(ctx)
	return err == nil && all.running(), err
}

func (v *vm) log() string { return filepath.Join(v.folder(v.spec.Name), logName) }

// Reach implements desktop.VM: a port of this host's loopback is forwarded by the NAT.
// VirtualBox takes a port that is taken for no error: its log alone says so.
func (v *vm) Reach(ctx context.Context, port int) (string, error) {
	const tries = 5
	for range tries {
		host, ok := v.ports[port]
		if ok && !v.taken(host) {
			return net.JoinHostPort("127.0.0.1", strconv.Itoa(host)), nil
		}
		name := fmt.Sprintf("bake%d", port)
		if ok {
			delete(v.ports, port)
			if _, err := v.manage().Call(ctx, "controlvm", v.uuid, "natpf1", "delete", name); err != nil {
				return "", fmt.Errorf("forward a port: %w", err)
			}
		}
		host, err := freePort()
		if err != nil {
			return "", err
		}
		if _, err := v.manage().Call(ctx, "controlvm", v.uuid, "natpf1", fmt.Sprintf("%s,tcp,127.0.0.1,%d,,%d", name, host, port)); err != nil {
			return "", fmt.Errorf("forward a port: %w", err)
		}
		v.ports[port] = host
	}
	return "", fmt.Errorf("forward a local port to the machine's port %d: each of %d was taken by another program", port, tries)
}

// taken reports whether the log says that a port could not be forwarded.
func (v *vm) taken(host int) bool {
	text, err := os.ReadFile(v.log())
	if err != nil {
		return false // there is none yet
	}
	mark := fmt.Sprintf(" TCP 127.0.0.1:%d ", host)
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "Failed to redirect") && strings.Contains(line, mark) {
			return true
		}
	}
	return false
}

// freePort returns a port of the loopback that nobody has.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	address, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, errors.Join(errors.New("a listener without a port"), l.Close())
	}
	return address.Port, l.Close()
}

// Freeze implements desktop.VM.
func (v *vm) Freeze(ctx context.Context) ([]string, error) {
	before, err := v.info(ctx)
	if err != nil {
		return nil, err
	}
	v.snapshots++
	if _, err := v.manage().Within(longLimit).Call(ctx, "snapshot", v.uuid, "take", fmt.Sprintf("bake-%d", v.snapshots)); err != nil {
		return nil, err
	}
	after, err := v.info(ctx)
	if err != nil {
		return nil, err
	}
	var sealed []string
	for _, slot := range v.slots {
		path := before[slot]
		if path == "" || path == "none" || path == after[slot] {
			return nil, fmt.Errorf("the snapshot has not sealed the disk %s", slot)
		}
		sealed = append(sealed, path)
	}
	return sealed, v.dropMemory(before["SnapFldr"])
}

// dropMemory removes the memory that VirtualBox has saved with a snapshot.
func (v *vm) dropMemory(folder string) error {
	if folder == "" {
		folder = filepath.Join(v.folder(v.spec.Name), "Snapshots")
	}
	if rel, err := filepath.Rel(v.dir, folder); err != nil || !filepath.IsLocal(rel) {
		return fmt.Errorf("the snapshots of the machine are in %s, and not below its directory", folder)
	}
	saved, err := filepath.Glob(filepath.Join(escapeGlob(folder), "*.sav"))
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range saved {
		errs = append(errs, os.Remove(path))
	}
	return errors.Join(errs...)
}

// escapeGlob returns a pattern that matches the path alone.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// Type implements desktop.Keyboard.
func (v *vm) Type(ctx context.Context, s installer.Stroke) error {
	args := []string{"controlvm", v.uuid, "keyboardputscancode"}
	for _, b := range s.Scan() {
		args = append(args, fmt.Sprintf("%02x", b))
	}
	_, err := v.manage().Call(ctx, args...)
	return err
}

// Host implements desktop.Keyboard: the NAT's own address leads to the loopback where
// nat-localhostreachable is on.
func (*vm) Host() (installer.Host, error) {
	return installer.Host{Listen: "127.0.0.1:0", Name: "10.0.2.2"}, nil
}

// NVRAM implements desktop.Variables.
func (v *vm) NVRAM() string { return filepath.Join(v.folder(v.spec.Name), v.spec.Name+".nvram") }

// newID returns a random UUID (RFC 9562, version 4).
func newID() (id [16]byte) {
	_, _ = rand.Read(id[:]) // never fails
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}
