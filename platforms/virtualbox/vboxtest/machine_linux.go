package vboxtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"
)

// guests are the names of guest systems by their ids; others are shown as they are.
var guests = map[string]string{
	"Debian_64": "Debian (64-bit)", "Linux_64": "Other Linux (64-bit)", "Linux26_64": "Linux 2.6 / 3.x / 4.x / 5.x (64-bit)",
	"Ubuntu_64": "Ubuntu (64-bit)", "RedHat_64": "Red Hat (64-bit)", "Other_64": "Other/Unknown (64-bit)", "Other": "Other/Unknown",
}

func fileName(name string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(`/\:*?"<>|$`, r) {
			return '_'
		}
		return r
	}, name)
}

func (h *home) machineFile(name, folder string) string {
	if folder == "" {
		folder = h.Folder
	}
	name = fileName(name)
	return filepath.Join(folder, name, name+".vbox")
}

func newMachine(uuid, name, osType, file string) *machine {
	m := &machine{UUID: uuid, File: file, settings: settings{Name: name, Values: map[string]string{}, Extra: map[string]string{}}}
	if _, ok := guests[osType]; !ok {
		osType = "Other"
	}
	m.Values["ostype"] = osType
	m.Values["nic1"], m.Values["macaddress1"] = "nat", newMAC()
	m.setState("poweroff")
	return m
}

func (c *call) createVM() error {
	_, opts := split(c.args[1:], map[string]int{"name": 1, "ostype": 1, "basefolder": 1, "uuid": 1, "groups": 1})
	name := opts.or("name", "")
	if name == "" {
		return usage("Parameter --name is required\n", "Create a new virtual machine", 2)
	}
	file := c.machineFile(name, opts.or("basefolder", ""))
	if _, err := os.Stat(file); err == nil {
		return fail("VBOX_E_FILE_ERROR", "MachineWrap/IMachine", fmt.Sprintf("Machine settings file '%s' already exists", file),
			where{"CreateMachine(bstrSettingsFile.raw(), bstrName.raw(), ComSafeArrayAsInParam(groups), bstrOsTypeId.raw(), createFlags.raw(), bstrCipher.raw(), bstrPasswordId.raw(), Bstr(strPassword).raw(), machine.asOutParam())", 397, "VBoxManageMisc"})
	}
	m := newMachine(opts.or("uuid", newUUID()), name, opts.or("ostype", "Other"), file)
	if err := os.MkdirAll(m.folder(), 0o700); err != nil {
		return err
	}
	if err := c.saveMachine(m); err != nil {
		return err
	}
	and := ""
	if opts.has("register") {
		c.Machines, and = append(c.Machines, m), " and registered"
	}
	c.print("Virtual machine '%s' is created%s.\nUUID: %s\nSettings file: '%s'\n", name, and, m.UUID, file)
	return nil
}

func (c *call) registerVM() error {
	pos, _ := split(c.args[1:], nil)
	if len(pos) != 1 {
		return usage("Incorrect number of parameters\n", "Register a virtual machine", 2)
	}
	at := where{"OpenMachine(Bstr(a->argv[0]).raw(), Bstr(strPassword).raw(), machine.asOutParam()))", 160, "VBoxManageMisc"}
	text, err := os.ReadFile(pos[0])
	if err != nil {
		return fail("NS_ERROR_FAILURE", "MachineWrap/IMachine", fmt.Sprintf("Runtime error opening '%s' for reading VERR_FILE_NOT_FOUND (File not found.).\nVBoxManage: error: /src/VBox/Main/src-server/MachineImpl.cpp[719] (nsresult Machine::initFromSettings(VirtualBox*, const com::Utf8Str&, const com::Guid*, const com::Utf8Str&))", pos[0]), at)
	}
	var f vboxFile
	if err := json.Unmarshal(text, &f); err != nil {
		return err
	}
	for _, m := range c.Machines {
		if m.UUID == f.Machine.UUID {
			return fail("NS_ERROR_FAILURE", "MachineWrap/IMachine", fmt.Sprintf("Trying to open a VM config '%s' which has the same UUID as an existing virtual machine", pos[0]), at)
		}
	}
	known := map[string]bool{}
	for _, d := range append(f.Media, c.Media...) {
		known[d.UUID] = true
	}
	for _, s := range append(f.Machine.Snapshots, &snapshot{settings: f.Machine.settings}) {
		for _, ctl := range s.Controllers {
			for _, slot := range ctl.Slots {
				if slot.Medium != "" && !known[slot.Medium] {
					return fail("VBOX_E_OBJECT_NOT_FOUND", "VirtualBoxWrap/IVirtualBox", fmt.Sprintf("Could not find an open hard disk with UUID {%s}", slot.Medium), at)
				}
			}
		}
	}
	for _, d := range f.Media {
		if c.medium(d.UUID) == nil {
			c.Media = append(c.Media, d)
		}
	}
	c.Machines = append(c.Machines, f.Machine)
	return nil
}

func (c *call) unregisterVM() error {
	pos, opts := split(c.args[1:], nil)
	if len(pos) != 1 {
		return usage("Incorrect number of parameters\n", "Unregister a virtual machine", 2)
	}
	m, err := c.find(pos[0], where{"FindMachine(Bstr(VMName).raw(), machine.asOutParam())", 229, "VBoxManageMisc"})
	if err != nil {
		return err
	}
	if m.Running != nil {
		return fail("VBOX_E_INVALID_OBJECT_STATE", "MachineWrap/IMachine", fmt.Sprintf("Cannot unregister the machine '%s' while it is locked", m.Name),
			where{"Unregister(fDeleteAll ? CleanupMode_DetachAllReturnHardDisksAndVMRemovable :CleanupMode_DetachAllReturnHardDisksOnly, ComSafeArrayAsOutParam(aMedia))", 233, "VBoxManageMisc"})
	}
	remove := opts.has("delete") || opts.has("delete-all")
	if m.State != "inaccessible" && !remove {
		if err := c.saveMachine(m); err != nil {
			return err
		}
	}
	c.Machines = slices.DeleteFunc(c.Machines, func(o *machine) bool { return o == m })
	if m.State == "inaccessible" && remove {
		return fail("E_ACCESSDENIED", "MachineWrap/IMachine", "The object is not ready", where{"DeleteConfig(ComSafeArrayAsInParam(aMedia), pProgress.asOutParam())", 240, "VBoxManageMisc"})
	}
	if err := c.releaseMedia(m, remove); err != nil || !remove {
		return err
	}
	c.progress()
	return os.RemoveAll(m.folder())
}

// releaseMedia takes the media of a machine that is no longer registered out of the
// registry, as far as nothing else has them, children first. With remove their files
// go, and the first that has children fails.
func (h *home) releaseMedia(m *machine, remove bool) error {
	var mine []*medium
	for _, d := range h.Media {
		used := m.has(d.UUID) || slices.ContainsFunc(m.Snapshots, func(s *snapshot) bool { return s.has(d.UUID) })
		if _, others := h.users(d); (used || d.Owner == m.UUID) && len(others) == 0 && (!d.DVD || !remove) {
			mine = append(mine, d)
		}
	}
	sort.SliceStable(mine, func(i, k int) bool { return len(h.chain(mine[i])) > len(h.chain(mine[k])) })
	for _, d := range mine {
		if children := h.children(d); len(children) > 0 && remove {
			return failTask("0%...10%...20%...30%...", "VBOX_E_OBJECT_IN_USE", "MediumWrap/IMedium", "Machine delete failed", fmt.Sprintf("Cannot close medium '%s' because it has %d child media", d.Path, len(children)),
				where{"RTEXITCODE handleUnregisterVM(HandlerArg*)", 244, "VBoxManageMisc"})
		} else if len(children) > 0 {
			continue
		}
		if err := h.drop(d, remove && (d.Parent != "" || used(m, d))); err != nil {
			return err
		}
	}
	return nil
}

func used(m *machine, d *medium) bool {
	return m.has(d.UUID) || slices.ContainsFunc(m.Snapshots, func(s *snapshot) bool { return s.has(d.UUID) })
}

func (c *call) setProperty() error {
	if len(c.args) == 3 && c.args[1] == "machinefolder" {
		c.Folder = c.args[2]
	}
	return nil
}

func (c *call) extra(name string) (map[string]string, error) {
	if name == "global" {
		return c.Extra, nil
	}
	m, err := c.find(name, where{"FindMachine(Bstr(a->argv[0]).raw(), machine.asOutParam())", 1113, "VBoxManageMisc"})
	if err != nil {
		return nil, err
	}
	return m.Extra, nil
}

func (c *call) setExtra() error {
	if len(c.args) < 3 {
		return usage("Not enough parameters\n", "Set a keyword value that is associated with a virtual machine", 2)
	}
	values, err := c.extra(c.args[1])
	if err != nil {
		return err
	}
	if len(c.args) < 4 {
		delete(values, c.args[2])
	} else {
		values[c.args[2]] = c.args[3]
	}
	return nil
}

func (c *call) getExtra() error {
	if len(c.args) < 3 {
		return usage("Not enough parameters\n", "View keyword value", 2)
	}
	values, err := c.extra(c.args[1])
	if err != nil {
		return err
	}
	if c.args[2] == "enumerate" {
		for _, key := range slices.Sorted(mapsKeys(values)) {
			c.print("Key: %s, Value: %s\n", key, values[key])
		}
	} else if value, ok := values[c.args[2]]; ok {
		c.print("Value: %s\n", value)
	} else {
		c.print("No value set!\n")
	}
	return nil
}

func mapsKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for key := range m {
			if !yield(key) {
				return
			}
		}
	}
}

func (c *call) guestProperty() error {
	pos, opts := split(c.args[1:], map[string]int{"flags": 1, "patterns": 1, "timeout": 1})
	if len(pos) < 2 {
		return usage("Incorrect number of parameters\n", "Manage virtual machine guest properties", 2)
	}
	m, err := c.find(pos[1], where{"FindMachine(Bstr(a->argv[0]).raw(), machine.asOutParam())", 90, "VBoxManageGuestProp"})
	if err != nil {
		return err
	}
	switch pos[0] {
	case "get":
		p, ok := m.Props[pos[2]]
		if !ok {
			c.print("No value set!\n")
			return nil
		}
		c.print("Value: %s\n", p.Value)
		if opts.has("verbose") {
			c.print("Timestamp: %s\nFlags: %s\n", p.Time, p.Flags)
		}
	case "set":
		if strings.HasPrefix(opts.or("flags", ""), "TRANS") && m.Running == nil {
			return fail("NS_ERROR_INVALID_ARG", "SessionMachine/IMachine", "Properties with TRANSIENT or TRANSRESET flag cannot be set or modified if VM is not running",
				where{"SetGuestProperty(Bstr(pszName).raw(), Bstr(pszValue).raw(), Bstr(pszFlags).raw())", 154, "VBoxManageGuestProp"})
		}
		if m.Props == nil {
			m.Props = map[string]property{}
		}
		m.Props[pos[2]] = property{pos[3], opts.or("flags", ""), fmt.Sprint(time.Now().UnixNano())}
	case "enumerate":
		for _, key := range slices.Sorted(mapsKeys(m.Props)) {
			c.print("%s = '%s' @ %s\n", key, m.Props[key].Value, time.Now().UTC().Format("2006-01-02T15:04:05.000Z"))
		}
	case "wait":
		return &failure{exit: 2, text: "VBoxManage: error: Time out or interruption while waiting for a notification.\n"}
	default:
		return errors.New("guestproperty " + pos[0] + " is not there")
	}
	return nil
}
