package vmware

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"bake.build/bake/internal/ovf"
	"bake.build/bake/internal/vmdk"
	"bake.build/bake/internal/vmx"
	"bake.build/bake/platforms/desktop"
	hv "bake.build/bake/platforms/hypervisor"
)

// A hypervisor is VMware's on this host.
type hypervisor struct {
	product string
	leases  []string // files; the first that is there counts
}

var (
	_ desktop.Hypervisor = (*hypervisor)(nil)
	_ desktop.Checker    = (*hypervisor)(nil)
)

func newHypervisor(o Options) *hypervisor {
	product := "ws"
	if runtime.GOOS == "darwin" {
		product = "fusion"
	}
	h := &hypervisor{product: cmp.Or(o.Product, product), leases: []string{o.Leases}}
	if o.Leases == "" {
		h.leases = leaseFiles[runtime.GOOS]
	}
	return h
}

// Media implements desktop.Hypervisor.
func (*hypervisor) Media() desktop.Media { return media{} }

// Check implements desktop.Checker.
func (*hypervisor) Check(ctx context.Context) (string, error) { return version(ctx) }

// Create implements desktop.Hypervisor.
func (h *hypervisor) Create(ctx context.Context, s desktop.Spec) (desktop.VM, error) {
	v := &vm{h: h, program: program{h.product, s.Dir}, spec: s, path: filepath.Join(s.Dir, s.Name+".vmx")}
	text, err := v.encode()
	if err == nil {
		err = os.WriteFile(v.path, text, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("make the machine: %w", err)
	}
	if s.NVRAM != "" && s.NVRAM != v.nvram() {
		if err := os.Rename(s.NVRAM, v.nvram()); err != nil {
			return nil, err
		}
	}
	onTop := false
	for _, d := range s.Disks {
		if err := nameParents(d.Media); err != nil {
			return nil, fmt.Errorf("make the machine: %w", err)
		}
		onTop = onTop || !d.Own
	}
	if !onTop {
		return v, nil
	}
	// The machine writes to disks of its own on top of what is never written to.
	if _, err := v.call(ctx, 0, "snapshot", v.path, "bake-0"); err != nil {
		return nil, fmt.Errorf("make the machine: %w", err)
	}
	return v, nil
}

// encode returns the VMX file.
func (v *vm) encode() ([]byte, error) {
	m := &ovf.Machine{Name: v.spec.Name, Hardware: v.spec.Hardware}
	m.Hardware.Serial = false // it is at a place of bake's own
	if !slices.Contains(cards, m.Hardware.NIC) {
		m.Hardware.NIC = "e1000" // a descriptor of another hypervisor
	}
	if !slices.Contains(buses, m.Hardware.DiskBus) {
		m.Hardware.DiskBus = "lsilogic"
	}
	m.Hardware.Network = "nat"
	for _, d := range v.spec.Disks {
		if len(d.Media) == 0 {
			return nil, errors.New("a disk without a medium")
		}
		m.Disks = append(m.Disks, ovf.Disk{File: filepath.Base(d.Media[len(d.Media)-1])})
	}
	text, err := vmx.Encode(m)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	b.Write(text)
	say := func(key, value string) { b.WriteString(vmx.Line(key, value)) }
	say("msg.autoAnswer", "TRUE") // nobody is there to be asked
	say("mainMem.useNamedFile", "FALSE")
	say("tools.upgrade.policy", "manual")
	say("serial0.present", "TRUE")
	say("serial0.fileType", "file")
	say("serial0.fileName", v.spec.Console)
	say("serial0.yieldOnMsrRead", "TRUE")
	for i, path := range v.spec.CDs {
		if i > 1 {
			return nil, errors.New("a machine has two CD drives")
		}
		drive := fmt.Sprintf("ide1:%d", i)
		say(drive+".present", "TRUE")
		say(drive+".deviceType", "cdrom-image")
		say(drive+".fileName", path)
		say(drive+".startConnected", boolean(exists(path)))
	}
	devices := map[string]string{"disk": "hdd", "cd": "cdrom"}
	var order []string
	for _, d := range v.spec.Boot {
		order = append(order, devices[d])
	}
	say("bios.bootOrder", strings.Join(order, ","))
	if err := v.screen.choose(); err != nil {
		return nil, err
	}
	say("RemoteDisplay.vnc.enabled", "TRUE")
	say("RemoteDisplay.vnc.ip", "127.0.0.1")
	say("RemoteDisplay.vnc.port", fmt.Sprint(v.screen.port))
	say("RemoteDisplay.vnc.password", v.screen.password)
	return []byte(b.String()), nil
}

func boolean(b bool) string { return strings.ToUpper(fmt.Sprint(b)) }

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// nameParents gives each medium of a chain, but for the last, the name as well by which
// the one above it asks for it.
func nameParents(chain []string) error {
	for i := 1; i < len(chain); i++ {
		d, err := vmdk.Describe(chain[i])
		if err != nil {
			return err
		}
		hint := strings.ReplaceAll(d.Parent, `\`, "/")
		name := filepath.Join(filepath.Dir(chain[i]), hint[strings.LastIndexByte(hint, '/')+1:])
		if hint == "" {
			return fmt.Errorf("%s: does not name the disk below it", chain[i])
		}
		if exists(name) {
			continue
		}
		if err := os.Link(chain[i-1], name); err != nil {
			if err := os.Symlink(filepath.Base(chain[i-1]), name); err != nil {
				return err
			}
		}
	}
	return nil
}

// Remove implements desktop.Hypervisor.
func (h *hypervisor) Remove(ctx context.Context, dir string) (found bool, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	p := program{h.product, dir}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".vmx" {
			continue
		}
		found = true
		// In order, so that VMware's modules let go of the machine. What hangs is ended
		// below.
		if _, err := p.call(ctx, removeLimit, "stop", filepath.Join(dir, e.Name()), "hard"); err != nil && ctx.Err() != nil {
			return found, err
		}
	}
	ended, err := hv.EndProcesses(ctx, placeEnv+dir)
	return found || ended, err
}

// media are growing VMDK files.
type media struct{}

var _ desktop.Media = media{}

// Ext implements desktop.Media.
func (media) Ext() string { return ".vmdk" }

// Size implements desktop.Media.
func (media) Size(path string) (int64, error) {
	d, err := vmdk.Describe(path)
	if err != nil {
		return 0, err
	}
	return d.Size, nil
}

// Write implements desktop.Media.
func (media) Write(ctx context.Context, out, raw *os.File, size int64) error {
	var id [32]byte
	_, _ = rand.Read(id[:]) // never fails
	const sector = vmdk.Sector
	return vmdk.WriteSparse(ctx, out, raw, filepath.Base(out.Name()), (size+sector-1)/sector*sector, vmdk.IdentityOf(id), nil)
}

// Read implements desktop.Media.
func (media) Read(ctx context.Context, raw *os.File, chain []string, progress func(done, total int64)) error {
	return vmdk.ReadChain(ctx, raw, chain, progress)
}
