package virtualbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/sparse"
	"bake.build/bake/internal/vdi"
	"bake.build/bake/platforms/desktop"
	hv "bake.build/bake/platforms/hypervisor"
	"bake.build/bake/platforms/wait"
)

// A hypervisor is VirtualBox on this host.
type hypervisor struct {
	additions bool          // machines of steps get the CD of the Guest Additions
	limit     time.Duration // how long a command may take; zero means the usual time
}

// placeOf returns the place of the machine whose directory is dir.
func (h *hypervisor) placeOf(dir string) place {
	p := placeOf(dir)
	p.limit = h.limit
	return p
}

var (
	_ desktop.Hypervisor = (*hypervisor)(nil)
	_ desktop.Checker    = (*hypervisor)(nil)
)

// Media implements desktop.Hypervisor.
func (*hypervisor) Media() desktop.Media { return media{} }

// Check implements desktop.Checker.
func (h *hypervisor) Check(ctx context.Context) (string, error) { return h.version(ctx) }

// version asks which VirtualBox is installed. It starts no VBoxSVC.
func (*hypervisor) version(ctx context.Context) (string, error) {
	if runtime.GOOS == "windows" {
		return "", errors.New("machines of virtualbox() have registries of their own, which VirtualBox does not have on Windows")
	}
	said, err := manager().Call(ctx, "--version")
	if err != nil {
		return "", err
	}
	return parseVersion(said)
}

// Names of the controllers that a machine has.
const (
	diskController = "disks"
	cdController   = "cds"
)

// A controller is one of VirtualBox's, by the option that names it.
type controller struct {
	bus, kind string // as storagectl's --add and --controller
	ports     bool   // how many there are is said
	perPort   int
}

var controllers = map[string]controller{
	"sata":     {"sata", "IntelAhci", true, 1},
	"ide":      {"ide", "PIIX4", false, 2},
	"scsi":     {"scsi", "LSILogic", false, 1},
	"lsilogic": {"scsi", "LSILogic", false, 1},
	"lsisas":   {"sas", "LSILogicSAS", false, 1},
	"nvme":     {"pcie", "NVMe", true, 1},
	"virtio":   {"virtio", "VirtIO", true, 1},
}

// adapters are VirtualBox's network cards, by the option that names them.
var adapters = map[string]string{"e1000": "82540EM", "e1000e": "82545EM", "virtio": "virtio", "pcnet": "Am79C973"}

// Create implements desktop.Hypervisor.
func (h *hypervisor) Create(ctx context.Context, s desktop.Spec) (desktop.VM, error) {
	if _, err := h.version(ctx); err != nil {
		return nil, err
	}
	if h.additions {
		cd, err := additionsCD(ctx)
		if err != nil {
			return nil, err
		}
		s.CDs = append(s.CDs, cd)
	}
	v := &vm{place: h.placeOf(s.Dir), spec: s, ports: map[int]int{}}
	for _, dir := range []string{v.home(), filepath.Join(s.Dir, "vm")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	for _, step := range []func(context.Context) error{v.register, v.addDisks, v.addCDs, v.addLogin, v.addVariables} {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("make the machine: %w", err)
		}
	}
	return v, nil
}

// register makes a machine with no disk.
func (v *vm) register(ctx context.Context) error {
	h := v.spec.Hardware
	guest, ok := hardware.GuestNamed(h.GuestOS)
	if !ok {
		return fmt.Errorf("guest_os %q is not known", h.GuestOS)
	}
	if _, err := v.manage().Call(ctx, "createvm", "--name", v.spec.Name, "--uuid", v.uuid,
		"--ostype", guest.VirtualBox, "--basefolder", filepath.Join(v.dir, "vm"), "--register"); err != nil {
		return err
	}
	args, err := v.hardware(h)
	if err != nil {
		return err
	}
	_, err = v.manage().Call(ctx, append([]string{"modifyvm", v.uuid}, args...)...)
	return err
}

// hardware returns the options of modifyvm that say what the machine is made of.
func (v *vm) hardware(h hardware.Options) ([]string, error) {
	memory, err := h.MemorySize()
	if err != nil {
		return nil, err
	}
	adapter, ok := adapters[h.NIC]
	if !ok {
		adapter = adapters["e1000"] // a descriptor of another hypervisor
	}
	firmware, chipset := "bios", "piix3"
	if h.UEFI() {
		firmware = "efi"
	}
	if h.DiskBus == "nvme" || h.DiskBus == "virtio" {
		chipset = "ich9" // with PCI Express
	}
	args := []string{
		"--memory", strconv.FormatInt(memory>>20, 10), "--cpus", strconv.Itoa(h.CPUs),
		"--firmware", firmware, "--chipset", chipset, "--ioapic", "on", "--rtcuseutc", "on",
		"--graphicscontroller", "vmsvga", "--vram", "16", "--audio-enabled", "off", "--usb-ohci", "off",
		"--nic1", "nat", "--nictype1", adapter, "--nat-localhostreachable1", "on",
		"--uart1", "0x3f8", "4", "--uartmode1", "file", v.spec.Console,
	}
	if h.TPM {
		args = append(args, "--tpm-type", "2.0")
	}
	devices := map[string]string{"disk": "disk", "cd": "dvd"}
	for i := range 4 {
		device := "none"
		if i < len(v.spec.Boot) {
			device = devices[v.spec.Boot[i]]
		}
		args = append(args, fmt.Sprintf("--boot%d", i+1), device)
	}
	return args, nil
}

// addDisks attaches the disks: below each what is never written to.
func (v *vm) addDisks(ctx context.Context) error {
	c, ok := controllers[v.spec.Hardware.DiskBus]
	if !ok {
		c = controllers["scsi"] // a descriptor of another hypervisor
	}
	args := []string{"storagectl", v.uuid, "--name", diskController, "--add", c.bus, "--controller", c.kind, "--hostiocache", "on", "--bootable", "on"}
	if c.ports {
		args = append(args, "--portcount", strconv.Itoa(len(v.spec.Disks)))
	}
	if _, err := v.manage().Call(ctx, args...); err != nil {
		return err
	}
	for i, d := range v.spec.Disks {
		top, err := v.top(ctx, i, d)
		if err != nil {
			return err
		}
		port, device := i/c.perPort, i%c.perPort
		v.slots = append(v.slots, fmt.Sprintf("%s-%d-%d", diskController, port, device))
		if err := v.attach(ctx, diskController, port, device, "hdd", top); err != nil {
			return err
		}
	}
	return nil
}

// top returns what disk i writes to: a new medium of differences, whose parents are opened
// for reading, the oldest first.
func (v *vm) top(ctx context.Context, i int, d desktop.Disk) (string, error) {
	if len(d.Media) == 0 {
		return "", errors.New("a disk without a medium")
	}
	last := d.Media[len(d.Media)-1]
	if d.Own {
		return last, nil
	}
	for _, m := range d.Media {
		if _, err := v.manage().Call(ctx, "showmediuminfo", "disk", m); err != nil {
			return "", err
		}
	}
	path := filepath.Join(v.dir, fmt.Sprintf("top%d.vdi", i))
	_, err := v.manage().Call(ctx, "createmedium", "disk", "--filename", path, "--diffparent", last, "--format", "VDI")
	return path, err
}

func (v *vm) attach(ctx context.Context, name string, port, device int, kind, medium string) error {
	_, err := v.manage().Call(ctx, "storageattach", v.uuid, "--storagectl", name, "--port", strconv.Itoa(port),
		"--device", strconv.Itoa(device), "--type", kind, "--medium", medium)
	return err
}

// addCDs puts the CDs into drives: beside the disks where those are at the one IDE
// controller that a machine can have.
func (v *vm) addCDs(ctx context.Context) error {
	if len(v.spec.CDs) == 0 {
		return nil
	}
	name, from := cdController, 0
	if v.spec.Hardware.DiskBus == "ide" {
		name, from = diskController, len(v.spec.Disks)
	} else if _, err := v.manage().Call(ctx, "storagectl", v.uuid, "--name", name, "--add", "ide", "--controller", "PIIX4"); err != nil {
		return err
	}
	for i, path := range v.spec.CDs {
		if from+i > 3 {
			return errors.New("the machine's IDE controller has no room for its CDs: give another disk_bus")
		}
		medium := path
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			medium = "emptydrive"
		}
		if err := v.attach(ctx, name, (from+i)/2, (from+i)%2, "dvddrive", medium); err != nil {
			return err
		}
	}
	return nil
}

// addLogin has the firmware tell the guest the OEM string.
func (v *vm) addLogin(ctx context.Context) error {
	if v.spec.OEM == "" {
		return nil
	}
	device := "pcbios"
	if v.spec.Hardware.UEFI() {
		device = "efi"
	}
	_, err := v.manage().Call(ctx, "setextradata", v.uuid, "VBoxInternal/Devices/"+device+"/0/Config/DmiOEMVBoxVer", v.spec.OEM)
	return err
}

// addVariables gives the machine the UEFI variables of the one that made its layer.
func (v *vm) addVariables(ctx context.Context) (err error) {
	if v.spec.NVRAM == "" {
		return nil
	}
	in, err := os.Open(v.spec.NVRAM)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(v.NVRAM(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	return sparse.CopyAll(ctx, out, in)
}

// Remove implements desktop.Hypervisor.
func (h *hypervisor) Remove(ctx context.Context, dir string) (found bool, err error) {
	p := h.placeOf(dir)
	if _, err := os.Stat(p.home()); err == nil {
		found = true
		// In order, so that the kernel's driver lets go of the machine. What hangs is
		// ended below.
		if _, err := p.manage().Within(cmp.Or(h.limit, removeLimit)).Call(ctx, "controlvm", p.uuid, "poweroff"); err != nil && ctx.Err() != nil {
			return found, err
		}
	}
	ended, err := hv.EndProcesses(ctx, homeEnv+p.home())
	if err != nil {
		return found, err
	}
	// Where the system does not tell whose processes there are, VBoxSVC ends by itself
	// when it has had no client for 5 seconds.
	loop := wait.Loop{What: "wait for the end of VBoxSVC", Timeout: removeLimit, Backoff: wait.Backoff{Next: 50 * time.Millisecond, Most: time.Second}}
	err = loop.Until(ctx, func(context.Context) (bool, error) {
		c, err := net.Dial("unix", filepath.Join(p.socket(), "ipcd"))
		if err != nil {
			return true, nil
		}
		return false, c.Close()
	})
	return found || ended, errors.Join(err, os.RemoveAll(p.socket()))
}

// media are VDI files.
type media struct{}

var _ desktop.Media = media{}

// Ext implements desktop.Media.
func (media) Ext() string { return ".vdi" }

// Size implements desktop.Media.
func (media) Size(path string) (int64, error) {
	h, err := vdi.HeaderOf(path)
	if err != nil {
		return 0, err
	}
	return h.Size, nil
}

// Write implements desktop.Media.
func (media) Write(ctx context.Context, out, raw *os.File, size int64) error {
	return vdi.Write(ctx, out, raw, size, newID(), newID(), nil)
}

// Read implements desktop.Media.
func (media) Read(ctx context.Context, raw *os.File, chain []string, progress func(done, total int64)) error {
	return vdi.ReadChain(ctx, raw, chain, progress)
}

// logName is VirtualBox's log of a machine, in its folder.
var logName = filepath.Join("Logs", "VBox.log")

// trimLog returns the last lines of the log that speak of an error.
func trimLog(text string) string {
	var said []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, "Power up failed") || strings.Contains(line, "VMSetError: ") {
			said = append(said, strings.TrimSpace(line))
		}
	}
	return strings.Join(said[max(0, len(said)-3):], "\n")
}

// additionsCD returns the path of the CD with the Guest Additions.
func additionsCD(ctx context.Context) (string, error) {
	said, err := manager().Call(ctx, "list", "systemproperties")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(said) {
		key, value, _ := strings.Cut(line, ":")
		if value = strings.TrimSpace(value); key == "Default Guest Additions ISO" && value != "" {
			return value, nil
		}
	}
	return "", errors.New("option guest_additions: this VirtualBox has no CD with them: install it, such as Debian's virtualbox-guest-additions-iso")
}
