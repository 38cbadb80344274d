package vboxtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/ovf"
	"bake.build/bake/internal/testqemu"
)

// An appliance is what import is asked to do with the one machine of an OVF package.
type appliance struct {
	path   string
	system ovf.Machine
	opts   options            // of the machine
	units  map[string]options // of its parts, by their numbers
	lines  []string
	net    string // of the card; "" for none
	disks  []int  // numbers of the units that are disks
}

// importApp reads an OVF package and makes its machine. Packages of several machines are
// refused.
func (c *call) importApp() error {
	if i := slices.Index(c.args, "-n"); i > 0 { // Vagrant has it before the file
		c.args = append(slices.Delete(c.args, i, i+1), "--dry-run")
	}
	pos, all := split(c.args[1:], map[string]int{"vsys": 1, "options": 1})
	if len(pos) == 0 {
		return usage("Not enough arguments for \"import\" command.\n", "Import a virtual appliance in OVF format", 2)
	}
	path, err := filepath.Abs(pos[0])
	if err != nil {
		return err
	}
	a := &appliance{path: path, units: map[string]options{}}
	a.split(c.args[2:])
	at := where{"RTEXITCODE handleImportAppliance(HandlerArg*)", 510, "VBoxManageAppliance"}
	if _, err := os.Stat(path); err != nil {
		return failTask("0%...", "VBOX_E_OBJECT_NOT_FOUND", "ApplianceWrap/IAppliance", "Appliance read failed", fmt.Sprintf("Error opening the OVA file '%s' (VERR_FILE_NOT_FOUND)", path), at)
	}
	p, err := ovf.Open(path)
	if err != nil {
		return failTask("0%...", "VBOX_E_FILE_ERROR", "ApplianceWrap/IAppliance", "Appliance read failed", err.Error(), at)
	}
	defer func() { _ = p.Close() }()
	if len(p.Envelope.Systems) != 1 {
		return errors.New("the stand-in imports one machine")
	}
	a.system = p.Envelope.Systems[0]
	c.progress()
	fmt.Fprintf(&c.err, "Interpreting %s...\nOK.\n", path)
	if n := a.opts.or("vsys", "0"); n != "0" {
		return usage("Invalid index "+n+" with -vsys option; the OVF contains only 1 virtual system(s).\n", "Import a virtual appliance in OVF format or from a cloud service and create virtual machines", 2)
	}
	c.interpret(a)
	dry := all.has("dry-run")
	if a.system.EULA != "" && a.opts.or("eula", "") != "accept" {
		return &failure{exit: 0, text: "VBoxManage: error: Cannot import until the license agreement listed above is accepted.\n"}
	}
	if dry {
		return nil
	}
	return c.importMachine(a, p)
}

// split sorts the options by the part of the machine that --unit names before them.
func (a *appliance) split(args []string) {
	takes := map[string]int{"vsys": 1, "vmname": 1, "basefolder": 1, "memory": 1, "cpus": 1, "ostype": 1, "eula": 1, "options": 1, "unit": 1, "disk": 1, "controller": 1, "port": 1, "settingsfile": 1, "group": 1, "description": 1}
	unit := ""
	a.opts = options{}
	for i := 0; i < len(args); i++ {
		_, one := split(args[i:min(len(args), i+2)], takes)
		for key, value := range one {
			if args[i] != "--"+key && !strings.HasPrefix(args[i], "--"+key+"=") {
				continue
			}
			into := a.opts
			switch key {
			case "unit":
				unit = value[0]
				a.units[unit] = options{}
				i++
				continue
			case "ignore", "disk", "controller", "port":
				if unit != "" {
					into = a.units[unit]
				}
			}
			into[key] = value
			if takes[key] == 1 && !strings.Contains(args[i], "=") {
				i++
			}
		}
	}
}

func (a *appliance) say(format string, args ...any) int {
	a.lines = append(a.lines, fmt.Sprintf(format, args...))
	return len(a.lines) - 1
}

// choose says a value that may be given.
func (a *appliance) choose(option, given, suggested, arg string) string {
	if value := a.opts.or(option, ""); value != "" {
		a.say(given, value)
		return value
	}
	a.say("%s\n    (change with \"--vsys 0 --%s %s\")", suggested, option, arg)
	return ""
}

// name returns one that no machine has.
func (c *call) freeName(name string) string {
	for n := 0; ; n++ {
		try := name
		if n > 0 {
			try = fmt.Sprintf("%s %d", name, n)
		}
		if _, err := os.Stat(c.machineFile(try, "")); err != nil && !slices.ContainsFunc(c.Machines, func(m *machine) bool { return m.Name == try }) {
			return try
		}
	}
}

// interpret says what is in the package.
func (c *call) interpret(a *appliance) {
	s := a.system
	memory, _ := s.Hardware.MemorySize() // the reader of the descriptor has checked it
	guest, _ := hardware.GuestNamed(s.Hardware.GuestOS)
	name := c.freeName(s.Name)
	a.say("Suggested OS type: \"%s\"\n    (change with \"--vsys 0 --ostype <type>\"; use \"list ostypes\" to list all possible values)", guest.VirtualBox)
	a.choose("vmname", "VM name specified with --vmname: \"%s\"", fmt.Sprintf("Suggested VM name \"%s\"", name), "<name>")
	a.choose("group", "VM group specified with --group: \"%s\"", "Suggested VM group \"/\"", "<group>")
	a.choose("settingsfile", "VM settings file name specified with --settingsfile: \"%s\"", fmt.Sprintf("Suggested VM settings file name \"%s\"", c.machineFile(name, "")), "<filename>")
	a.choose("basefolder", "VM base folder specified with --basefolder: \"%s\"", fmt.Sprintf("Suggested VM base folder \"%s\"", c.Folder), "<path>")
	for _, what := range [][2]string{{"Product", s.Product}, {"Vendor", s.Vendor}, {"Version", s.Release}, {"ProductUrl", s.ProductURL}, {"VendorUrl", s.VendorURL}} {
		if what[1] != "" {
			a.say("%s (ignored): %s", what[0], what[1])
		}
	}
	if s.Annotation != "" {
		a.choose("description", "Description specified with --description: \"%s\"", fmt.Sprintf("Description \"%s\"", s.Annotation), "<desc>")
	}
	switch eula := a.opts.or("eula", ""); {
	case s.EULA == "":
	case eula == "accept":
		a.say("End-user license agreement (accepted)")
	case eula == "show":
		a.say("End-user license agreement\n    (accept with \"--vsys 0 --eula accept\"):\n\n%s\n", s.EULA)
	default:
		a.say("End-user license agreement\n    (display with \"--vsys 0 --eula show\";\n    accept with \"--vsys 0 --eula accept\")")
	}
	a.choose("cpus", "No. of CPUs specified with --cpus: %s", fmt.Sprintf("Number of CPUs: %d", s.Hardware.CPUs), "<n>")
	a.choose("memory", "Guest memory specified with --memory: %s MB", fmt.Sprintf("Guest memory: %d MB", memory>>20), "<MB>")
	if s.Hardware.NIC != "" {
		kind := "Bridged"
		if strings.EqualFold(s.Hardware.Network, "NAT") {
			kind = "NAT"
		}
		a.net = strings.ToLower(kind)
		a.say("Network adapter: orig %s, config 3, extra slot=0;type=%s", s.Hardware.Network, kind)
	}
	controller := a.say("%s", map[string]string{"sata": "SATA controller, type AHCI", "ide": "IDE controller, type PIIX4"}[s.Hardware.DiskBus])
	if a.lines[controller] == "" {
		a.lines[controller] = "SCSI controller, type LsiLogic"
	}
	a.lines[controller] += fmt.Sprintf("\n    (disable with \"--vsys 0 --unit %d --ignore\")", controller)
	for i, d := range s.Disks {
		unit := len(a.lines)
		a.disks = append(a.disks, unit)
		a.say("Hard disk image: source image=%[1]s, target path=%[2]s, controller=%[3]d;port=%[4]d\n    (change target path with \"--vsys 0 --unit %[5]d --disk path\";\n    change controller with \"--vsys 0 --unit %[5]d --controller <index>\";\n    change controller port with \"--vsys 0 --unit %[5]d --port <n>\";\n    disable with \"--vsys 0 --unit %[5]d --ignore\")",
			d.File, a.target(d.File), controller, i, unit)
	}
	c.print("Disks:\n")
	for i, d := range s.Disks {
		c.print("  vmdisk%d\t%d\t-1\thttp://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized\t%s\t-1\t-1\t\n", i+1, d.Capacity, d.File)
	}
	c.print("\nVirtual system 0:\n")
	for i, line := range a.lines {
		c.print("%2d: %s\n", i, line)
	}
}

// target is the name of a disk's file.
func (a *appliance) target(name string) string {
	if strings.Contains(a.opts.or("options", ""), "importtovdi") {
		return strings.TrimSuffix(name, filepath.Ext(name)) + ".vdi"
	}
	return name
}

// importMachine makes the machine that was shown.
func (c *call) importMachine(a *appliance, p *ovf.Package) error {
	s := a.system
	name := a.opts.or("vmname", c.freeName(s.Name))
	file := c.machineFile(name, a.opts.or("basefolder", ""))
	if _, err := os.Stat(file); err == nil {
		return failTask("0%...10%...20%...30%...40%...50%...60%...70%...80%...90%...", "VBOX_E_FILE_ERROR", "MachineWrap/IMachine", "Appliance import failed", fmt.Sprintf("Machine settings file '%s' already exists", file),
			where{"RTEXITCODE handleImportAppliance(HandlerArg*)", 1419, "VBoxManageAppliance"})
	}
	guest, _ := hardware.GuestNamed(s.Hardware.GuestOS)
	m := newMachine(newUUID(), name, a.opts.or("ostype", guest.VirtualBox), file)
	if err := os.MkdirAll(m.folder(), 0o700); err != nil {
		return err
	}
	memory, err := s.Hardware.MemorySize()
	if err != nil {
		return err
	}
	v := m.Values
	v["memory"], v["cpus"] = a.opts.or("memory", fmt.Sprint(memory>>20)), a.opts.or("cpus", fmt.Sprint(s.Hardware.CPUs))
	v["description"], v["vram"] = s.Annotation, "16"
	if s.Hardware.UEFI() {
		v["firmware"] = "EFI"
	}
	if v["nic1"] = a.net; a.net == "" {
		v["nic1"] = "none"
	}
	if card := map[string]string{"virtio": "virtio", "pcnet": "Am79C973"}[s.Hardware.NIC]; card != "" {
		v["nictype1"] = card
	}
	if keep := a.opts.or("options", ""); s.MAC != "" && (strings.Contains(keep, "keepallmacs") || strings.Contains(keep, "keepnatmacs")) {
		v["macaddress1"] = strings.ToUpper(strings.ReplaceAll(s.MAC, ":", ""))
	}
	bus, title := map[string]string{"sata": "sata", "ide": "ide"}[s.Hardware.DiskBus], "SATA"
	if bus == "" {
		bus = "scsi"
	}
	title = strings.ToUpper(bus)
	ctl := &controller{Name: title, Bus: bus, Kind: kinds[bus].kind, Ports: kinds[bus].most, Bootable: "on", Slots: map[string]*slot{}}
	if bus == "scsi" {
		ctl.Ports = 16
	}
	m.Controllers = append(m.Controllers, ctl)
	for i, d := range s.Disks {
		medium, err := c.importDisk(a, p, m, i, d)
		if err != nil {
			return err
		}
		if medium != nil {
			ctl.Slots[fmt.Sprintf("%d-0", i)] = &slot{Medium: medium.UUID}
		}
	}
	c.Machines = append(c.Machines, m)
	c.progress()
	c.print("Successfully imported the appliance.\n")
	return nil
}

func (c *call) importDisk(a *appliance, p *ovf.Package, m *machine, i int, d ovf.Disk) (_ *medium, err error) {
	unit := a.units[fmt.Sprint(a.disks[i])]
	if unit.has("ignore") {
		return nil, nil
	}
	path := unit.or("disk", a.target(d.File))
	if !filepath.IsAbs(path) {
		path = filepath.Join(m.folder(), filepath.Base(path))
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	member, raw := filepath.Join(c.dir, "import.member"), filepath.Join(c.dir, "import.raw")
	defer func() { err = errors.Join(err, os.RemoveAll(member), os.RemoveAll(raw)) }()
	f, err := os.Create(member)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(p.Copy(context.Background(), f, d.File, nil), f.Close()); err != nil {
		return nil, failTask("0%...10%...20%...30%...40%...50%...60%...70%...80%...90%...", "VBOX_E_FILE_ERROR", "ApplianceWrap/IAppliance", "Appliance import failed", err.Error(),
			where{"RTEXITCODE handleImportAppliance(HandlerArg*)", 1419, "VBoxManageAppliance"})
	}
	if _, err := testqemu.Img("convert", "-f", "vmdk", "-O", "raw", member, raw); err != nil {
		return nil, &failure{exit: 1, text: "0%...10%...20%...30%...40%...50%...NS_ERROR_INVALID_ARG\nVBoxManage: error: Appliance import failed\nVBoxManage: error: Code NS_ERROR_INVALID_ARG (0x80070057) - Invalid argument value (extended info not available)\nVBoxManage: error: Context: \"RTEXITCODE handleImportAppliance(HandlerArg*)\" at line 1419 of file VBoxManageAppliance.cpp\n"}
	}
	format := "VMDK"
	if strings.HasSuffix(path, ".vdi") {
		format = "VDI"
	}
	medium, err := convert(raw, path, format, "")
	if err != nil {
		return nil, err
	}
	medium.Owner = m.UUID
	return medium, c.register(medium)
}
