package vboxtest

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// kinds are the buses: the default controller, and how many ports and devices they have.
var kinds = map[string]struct {
	kind                 string
	ports, most, devices int
	names                []string
}{
	"sata":       {"IntelAhci", 1, 30, 1, []string{"IntelAhci"}},
	"ide":        {"PIIX4", 2, 2, 2, []string{"PIIX3", "PIIX4", "ICH6"}},
	"scsi":       {"LsiLogic", 16, 16, 1, []string{"LsiLogic", "BusLogic"}},
	"sas":        {"LsiLogicSas", 8, 255, 1, []string{"LsiLogicSas"}},
	"virtio":     {"VirtioSCSI", 1, 256, 1, []string{"VirtioSCSI", "VirtIO"}},
	"virtioscsi": {"VirtioSCSI", 1, 256, 1, []string{"VirtioSCSI", "VirtIO"}},
	"pcie":       {"NVMe", 1, 255, 1, []string{"NVMe"}},
	"floppy":     {"I82078", 1, 1, 2, []string{"I82078"}},
}

func (c *call) storageCtl() error {
	pos, opts := split(c.args[1:], map[string]int{"name": 1, "add": 1, "controller": 1, "portcount": 1, "hostiocache": 1, "bootable": 1, "rename": 1})
	if len(pos) != 1 || !opts.has("name") {
		return usage("Storage controller name not specified\n", "Manage a storage controller", 2)
	}
	at := where{"FindMachine(Bstr(a->argv[0]).raw(), machine.asOutParam())", 1034, "VBoxManageStorageController"}
	m, err := c.find(pos[0], at)
	if err != nil {
		return err
	}
	if m.Running != nil {
		return lockedBy(m, where{"LockMachine(a->session, LockType_Write)", 1040, "VBoxManageStorageController"})
	}
	name := opts.or("name", "")
	ctl := m.controller(name)
	if opts.has("remove") {
		m.Controllers = slices.DeleteFunc(m.Controllers, func(o *controller) bool { return o == ctl })
		return nil
	}
	if opts.has("add") {
		if ctl != nil {
			return fail("VBOX_E_OBJECT_IN_USE", "SessionMachine/IMachine", fmt.Sprintf("Storage controller named '%s' already exists", name),
				where{"AddStorageController(Bstr(pszCtl).raw(), StorageBus_SATA, ctl.asOutParam())", 1087, "VBoxManageStorageController"})
		}
		bus := strings.ToLower(opts.or("add", ""))
		k, ok := kinds[bus]
		if !ok {
			return usage("Invalid --add argument '"+bus+"'\n", "Manage a storage controller", 2)
		}
		ctl = &controller{Name: name, Bus: bus, Kind: k.kind, Ports: k.ports, Bootable: "on", Slots: map[string]*slot{}}
		m.Controllers = append(m.Controllers, ctl)
	}
	if ctl == nil {
		return plain("Could not find a controller named '%s'", name)
	}
	if want := opts.or("controller", ctl.Kind); !strings.EqualFold(want, ctl.Kind) {
		i := slices.IndexFunc(kinds[ctl.Bus].names, func(n string) bool { return strings.EqualFold(n, want) })
		if i < 0 {
			return usage("Invalid --type argument '"+want+"'\n", "Manage a storage controller", 2)
		}
		if ctl.Bus != "virtio" && ctl.Bus != "virtioscsi" {
			ctl.Kind = kinds[ctl.Bus].names[i]
		}
	}
	ctl.Bootable = opts.or("bootable", ctl.Bootable)
	if n, err := strconv.Atoi(opts.or("portcount", "0")); err == nil && n > 0 {
		ctl.Ports = n
	}
	return nil
}

func (s *settings) controller(name string) *controller {
	for _, ctl := range s.Controllers {
		if ctl.Name == name {
			return ctl
		}
	}
	return nil
}

func (c *call) storageAttach() error {
	pos, opts := split(c.args[1:], map[string]int{"storagectl": 1, "port": 1, "device": 1, "type": 1, "medium": 1, "mtype": 1, "nonrotational": 1, "discard": 1, "hotpluggable": 1, "setuuid": 1, "comment": 1})
	if len(pos) != 1 {
		return usage("Incorrect number of parameters\n", "Attach, remove, and modify storage media", 2)
	}
	m, err := c.find(pos[0], where{"FindMachine(Bstr(a->argv[0]).raw(), machine.asOutParam())", 222, "VBoxManageStorageController"})
	if err != nil {
		return err
	}
	ctl := m.controller(opts.or("storagectl", ""))
	if ctl == nil {
		return plain("Could not find a controller named '%s'", opts.or("storagectl", ""))
	}
	port, _ := strconv.Atoi(opts.or("port", "0"))
	at := fmt.Sprintf("%d-%s", port, opts.or("device", "0"))
	if m.Running != nil {
		return c.hotPlug(m, ctl, at, opts)
	}
	if port >= ctl.Ports && port < kinds[ctl.Bus].most {
		ctl.Ports = port + 1
	}
	what := opts.or("medium", "")
	switch what {
	case "none":
		delete(ctl.Slots, at)
		return nil
	case "emptydrive":
		ctl.Slots[at] = &slot{DVD: true}
		return nil
	}
	dvd := opts.or("type", "hdd") == "dvddrive"
	d, err := c.open(what, dvd)
	if f, ok := err.(*failure); ok {
		f.text += fmt.Sprintf("VBoxManage: error: Invalid UUID or filename \"%s\"\n", what)
		return f
	} else if err != nil {
		return err
	}
	if !dvd {
		if d, err = c.indirect(m, d); err != nil {
			return err
		}
	}
	ctl.Slots[at] = &slot{Medium: d.UUID, DVD: dvd}
	return nil
}

// indirect returns the medium that a disk is attached by: one of differences, where the
// disk is used elsewhere or is not to change.
func (c *call) indirect(m *machine, d *medium) (*medium, error) {
	_, all := c.users(d)
	if len(c.children(d)) > 0 || len(all) > 0 || d.Type == "immutable" {
		return c.diff(m, d)
	}
	if d.Owner == "" && d.Parent == "" {
		d.Owner = m.UUID
	}
	for _, child := range c.chain(d) {
		child.Owner = c.base(d).Owner
	}
	if d.Format == "VDI" {
		return d, setIDs(d.Path, "", "", "")
	}
	if d.Format == "VMDK" && d.Broken {
		d.Broken = false
		return d, nameVMDK(d.Path, d.UUID)
	}
	return d, nil
}

// hotPlug changes a running machine: the disc of a drive alone.
func (c *call) hotPlug(m *machine, ctl *controller, at string, opts options) error {
	s := ctl.Slots[at]
	if s == nil || !s.DVD {
		return fail("VBOX_E_INVALID_VM_STATE", "SessionMachine/IMachine", fmt.Sprintf("Controller '%s' does not support hot-plugging", ctl.Name),
			where{"DetachDevice(Bstr(pszCtl).raw(), port, device)", 412, "VBoxManageStorageController"})
	}
	id := driveID(ctl, at)
	if what := opts.or("medium", ""); what != "none" && what != "emptydrive" {
		d, err := c.open(what, true)
		if err != nil {
			return err
		}
		s.Medium = d.UUID
		return c.qemu(m).Run("blockdev-change-medium", map[string]any{"id": id, "filename": d.Path, "format": "raw", "force": true}, nil)
	}
	if s.Medium == "" {
		return nil
	}
	s.Medium = ""
	return c.qemu(m).Run("eject", map[string]any{"id": id, "force": true}, nil)
}

// missing returns the path of a medium of the machine whose file is gone.
func (h *home) missing(m *machine) string {
	for _, ctl := range m.Controllers {
		for _, s := range ctl.Slots {
			for _, d := range h.chain(h.medium(s.Medium)) {
				if _, err := os.Stat(d.Path); err != nil {
					return d.Path
				}
			}
		}
	}
	return ""
}
