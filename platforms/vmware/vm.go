package vmware

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"bake.build/bake/internal/vmx"
	"bake.build/bake/platforms/desktop"
	"bake.build/bake/platforms/installer"
)

// A vm is one machine.
type vm struct {
	program
	h         *hypervisor
	spec      desktop.Spec
	path      string // of the VMX file
	screen    screen
	snapshots int
}

var (
	_ desktop.VM        = (*vm)(nil)
	_ desktop.Keyboard  = (*vm)(nil)
	_ desktop.Variables = (*vm)(nil)
)

// Times of commands.
const (
	startLimit   = 5 * time.Minute
	removeLimit  = 20 * time.Second
	addressLimit = 15 * time.Second
)

// Start implements desktop.VM.
func (v *vm) Start(ctx context.Context) error {
	window := "nogui"
	if v.spec.GUI {
		window = "gui"
	}
	_, err := v.call(ctx, startLimit, "start", v.path, window)
	if err == nil {
		return nil
	}
	if why := v.logged(); why != "" {
		return fmt.Errorf("%w\nvmware.log:\n%s", err, why)
	}
	return err
}

// logged returns the last lines of the machine's log that speak of an error.
func (v *vm) logged() string {
	text, err := os.ReadFile(filepath.Join(v.dir, "vmware.log"))
	if err != nil {
		return "" // there is none
	}
	var said []string
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "Msg_Post: Error") || strings.Contains(line, "[msg.") {
			said = append(said, strings.TrimSpace(line))
		}
	}
	return strings.Join(said[max(0, len(said)-3):], "\n")
}

// Stop implements desktop.VM.
func (v *vm) Stop(ctx context.Context) error {
	if _, err := v.call(ctx, 0, "stop", v.path, "hard"); err != nil && !says(err, "not powered on") {
		return err
	}
	return nil
}

// Running implements desktop.VM.
func (v *vm) Running(ctx context.Context) (bool, error) { return v.running(ctx, v.path) }

// Reach implements desktop.VM.
func (v *vm) Reach(ctx context.Context, port int) (string, error) {
	ip, err := v.address(ctx)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(ip, strconv.Itoa(port)), nil
}

// address returns the address that the DHCP server has given the machine, else the one
// that VMware Tools tell.
func (v *vm) address(ctx context.Context) (string, error) {
	keys, err := v.keys()
	if err != nil {
		return "", err
	}
	mac := keys["ethernet0.generatedaddress"]
	if ip := leased(v.h.leases, mac, time.Now()); ip != "" {
		return ip, nil
	}
	said, err := v.call(ctx, addressLimit, "getGuestIPAddress", v.path)
	ip := strings.TrimSpace(said)
	if err == nil && net.ParseIP(ip) == nil {
		err = fmt.Errorf("vmrun getGuestIPAddress says %q", ip)
	}
	if err != nil {
		return "", fmt.Errorf("the machine with the MAC address %s has no lease yet: %w", mac, err)
	}
	return ip, nil
}

// keys returns what the VMX file says by now: VMware writes to it.
func (v *vm) keys() (map[string]string, error) {
	text, err := os.ReadFile(v.path)
	if err != nil {
		return nil, err
	}
	return vmx.Keys(text)
}

// disks returns the files that the machine's disks are written to.
func (v *vm) disks() (files []string, err error) {
	text, err := os.ReadFile(v.path)
	if err != nil {
		return nil, err
	}
	machine, err := vmx.Parse(text)
	if err != nil {
		return nil, err
	}
	if len(machine.Disks) != len(v.spec.Disks) {
		return nil, fmt.Errorf("%s names %d disks of %d", filepath.Base(v.path), len(machine.Disks), len(v.spec.Disks))
	}
	for _, d := range machine.Disks {
		files = append(files, filepath.Join(v.dir, d.File))
	}
	return files, nil
}

// Freeze implements desktop.VM.
func (v *vm) Freeze(ctx context.Context) ([]string, error) {
	sealed, err := v.disks()
	if err != nil {
		return nil, err
	}
	v.snapshots++
	if _, err := v.call(ctx, longLimit, "snapshot", v.path, fmt.Sprintf("bake-%d", v.snapshots)); err != nil {
		return nil, err
	}
	now, err := v.disks()
	if err != nil {
		return nil, err
	}
	for i, path := range sealed {
		if path == now[i] {
			return nil, fmt.Errorf("the snapshot has not sealed the disk %s", filepath.Base(path))
		}
	}
	return sealed, v.dropMemory()
}

// dropMemory removes the memory that VMware has saved with snapshots.
func (v *vm) dropMemory() error {
	entries, err := os.ReadDir(v.dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, v.spec.Name+"-Snapshot") && filepath.Ext(name) == ".vmem" {
			errs = append(errs, os.Remove(filepath.Join(v.dir, name)))
		}
	}
	return errors.Join(errs...)
}

// Type implements desktop.Keyboard.
func (v *vm) Type(ctx context.Context, s installer.Stroke) error { return v.screen.typeKeys(ctx, s) }

// Host implements desktop.Keyboard: this host's address in VMware's NAT network, which
// machines in it alone reach.
func (v *vm) Host() (installer.Host, error) {
	for _, name := range networks {
		card, err := net.InterfaceByName(name)
		if err != nil {
			continue
		}
		addresses, err := card.Addrs()
		if err != nil {
			return installer.Host{}, err
		}
		for _, a := range addresses {
			if ip, _, err := net.ParseCIDR(a.String()); err == nil && ip.To4() != nil {
				return installer.Host{Listen: net.JoinHostPort(ip.String(), "0"), Name: ip.String()}, nil
			}
		}
	}
	return installer.Host{}, fmt.Errorf("this host has no address in VMware's NAT network: none of the interfaces %s is there", strings.Join(networks, ", "))
}

// networks are what hosts call their interface in VMware's NAT network.
var networks = []string{"vmnet8", "VMware Network Adapter VMnet8", "bridge101"}

// nvram is the file with the UEFI variables, as vmx.Encode names it.
func (v *vm) nvram() string { return filepath.Join(v.dir, v.spec.Name+".nvram") }

// NVRAM implements desktop.Variables.
func (v *vm) NVRAM() string {
	if !exists(v.nvram()) {
		return ""
	}
	return v.nvram()
}
