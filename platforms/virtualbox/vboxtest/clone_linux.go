package vboxtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func (c *call) cloneVM() error {
	pos, opts := split(c.args[1:], map[string]int{"snapshot": 1, "options": 1, "name": 1, "basefolder": 1, "mode": 1, "groups": 1, "uuid": 1})
	if len(pos) != 1 {
		return usage("VM name or UUID required\n", "Create a clone of an existing virtual machine", 2)
	}
	m, err := c.find(pos[0], where{"FindMachine(Bstr(pszSrcName).raw(), srcMachine.asOutParam())", 668, "VBoxManageMisc"})
	if err != nil {
		return err
	}
	from := m.settings
	saved := ""
	if opts.has("snapshot") {
		s := m.find(opts.or("snapshot", ""))
		if s == nil {
			return fail("VBOX_E_OBJECT_NOT_FOUND", "MachineWrap/IMachine", fmt.Sprintf("Could not find a snapshot named '%s'", opts.or("snapshot", "")),
				where{"FindSnapshot(Bstr(pszSnapshotName).raw(), srcSnapshot.asOutParam())", 677, "VBoxManageMisc"})
		}
		from, saved = s.settings, s.Saved
	}
	name := opts.or("name", m.Name+" Clone")
	file := c.machineFile(name, opts.or("basefolder", ""))
	link := strings.Contains(opts.or("options", ""), "link")
	if _, err := os.Stat(file); err == nil {
		return fail("VBOX_E_FILE_ERROR", "MachineWrap/IMachine", fmt.Sprintf("Machine settings file '%s' already exists", file),
			where{"CreateMachine(bstrSettingsFile.raw(), Bstr(pszTrgName).raw(), ComSafeArrayAsInParam(groups), NULL, createFlags.raw(), NULL, NULL, NULL, trgMachine.asOutParam())", 704, "VBoxManageMisc"})
	}
	if link && !opts.has("snapshot") {
		return fail("NS_ERROR_INVALID_ARG", "MachineWrap/IMachine", "Linked clone can only be created from a snapshot",
			where{"CloneTo(trgMachine, mode, ComSafeArrayAsInParam(options), progress.asOutParam())", 717, "VBoxManageMisc"})
	}
	if m.Running != nil && !link {
		return failTask("0%...", "VBOX_E_INVALID_OBJECT_STATE", "MediumWrap/IMedium", "Clone VM failed", fmt.Sprintf("Failed to lock source media '%s'", c.firstDisk(m)), where{"RTEXITCODE handleCloneVM(HandlerArg*)", 723, "VBoxManageMisc"})
	}
	n := newMachine(opts.or("uuid", newUUID()), name, "", file)
	if err := os.MkdirAll(n.folder(), 0o700); err != nil {
		return err
	}
	n.settings = from.clone()
	n.settings.Name = name
	if !strings.Contains(opts.or("options", ""), "keepallmacs") {
		for key := range n.Values {
			if strings.HasPrefix(key, "macaddress") {
				n.Values[key] = newMAC()
			}
		}
	}
	if err := c.cloneDisks(n, link, strings.Contains(opts.or("options", ""), "keepdisknames")); err != nil {
		return err
	}
	if saved != "" && link {
		text, err := os.ReadFile(saved)
		if err != nil {
			return err
		}
		n.Saved = n.newSaved()
		if err := os.WriteFile(n.Saved, text, 0o600); err != nil {
			return err
		}
		n.setState("saved")
	}
	c.progress()
	c.print("Machine has been successfully cloned as \"%s\"\n", name)
	if opts.has("register") {
		c.Machines = append(c.Machines, n)
		return nil
	}
	return c.saveMachine(n)
}

func (c *call) cloneDisks(n *machine, link, keepNames bool) error {
	disks := 0
	for _, ctl := range n.Controllers {
		for _, slot := range ctl.Slots {
			d := c.medium(slot.Medium)
			if d == nil || d.DVD {
				continue
			}
			if link {
				child, err := c.diff(n, d)
				if err != nil {
					return err
				}
				slot.Medium = child.UUID
				continue
			}
			disks++
			base := c.base(d)
			path := filepath.Join(n.folder(), n.Name+filepath.Ext(base.Path))
			if keepNames {
				path = filepath.Join(n.folder(), filepath.Base(base.Path))
			} else if disks > 1 {
				path = filepath.Join(n.folder(), fmt.Sprintf("%s-disk%d%s", n.Name, disks, filepath.Ext(base.Path)))
			}
			if _, err := os.Stat(path); err == nil {
				return errors.New("a disk of that name is there")
			}
			whole, err := c.copy(d, path, base.Format, "")
			if err != nil {
				return err
			}
			whole.Owner, slot.Medium = n.UUID, whole.UUID
		}
	}
	return nil
}

func (c *call) firstDisk(m *machine) string {
	for _, ctl := range m.Controllers {
		for _, s := range ctl.Slots {
			if d := c.medium(s.Medium); d != nil && !s.DVD {
				return d.Path
			}
		}
	}
	return ""
}
