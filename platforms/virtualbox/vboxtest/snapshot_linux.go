package vboxtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bake.build/bake/internal/testqemu"
)

func (c *call) snapshot() error {
	if len(c.args) < 3 {
		return usage("Incorrect number of parameters\n", "Manage virtual machine snapshots", 2)
	}
	m, err := c.find(c.args[1], where{"FindMachine(Bstr(a->argv[0]).raw(), machine.asOutParam())", 389, "VBoxManageSnapshot"})
	if err != nil {
		return err
	}
	pos, opts := split(c.args[3:], map[string]int{"description": 1, "uniquename": 1, "name": 1})
	if len(m.Snapshots) == 0 && c.args[2] != "take" {
		c.print("This machine does not have any snapshots\n")
		return &failure{exit: 1}
	}
	name := ""
	if len(pos) > 0 {
		name = pos[0]
	}
	switch c.args[2] {
	case "take":
		return c.take(m, name, opts)
	case "list":
		if opts.has("machinereadable") {
			c.snapshots(m)
		} else {
			c.tree(m, "", "   ")
		}
		return nil
	case "restorecurrent":
		return c.restore(m, m.find(m.Current))
	}
	s := m.find(name)
	if s == nil {
		return fail("VBOX_E_OBJECT_NOT_FOUND", "SessionMachine/IMachine", fmt.Sprintf("Could not find a snapshot named '%s'", name),
			where{"FindSnapshot(Bstr(a->argv[2]).raw(), pSnapshot.asOutParam())", 537, "VBoxManageSnapshot"})
	}
	switch c.args[2] {
	case "restore":
		return c.restore(m, s)
	case "delete":
		return c.deleteSnapshot(m, s)
	case "edit":
		if opts.has("name") {
			s.Name = opts.or("name", "")
		}
		s.Text = opts.or("description", s.Text)
	}
	return nil
}

// find returns a snapshot by its UUID or name: the first one of a name.
func (m *machine) find(name string) *snapshot {
	for _, s := range m.Snapshots {
		if s.UUID == name {
			return s
		}
	}
	for _, s := range m.Snapshots {
		if s.Name == name {
			return s
		}
	}
	return nil
}

func (m *machine) kids(uuid string) (all []*snapshot) {
	for _, s := range m.Snapshots {
		if s.Parent == uuid {
			all = append(all, s)
		}
	}
	return all
}

// snapshots prints the snapshots for programs.
func (c *call) snapshots(m *machine) {
	var show func(s *snapshot, suffix string)
	show = func(s *snapshot, suffix string) {
		c.print("SnapshotName%s=\"%s\"\nSnapshotUUID%s=\"%s\"\n", suffix, quote(s.Name), suffix, s.UUID)
		if s.Text != "" {
			c.print("SnapshotDescription%s=\"%s\"\n", suffix, quote(s.Text))
		}
		if s.UUID == m.Current {
			c.print("CurrentSnapshotName=\"%s\"\nCurrentSnapshotUUID=\"%s\"\nCurrentSnapshotNode=\"SnapshotName%s\"\n", quote(s.Name), s.UUID, suffix)
		}
		for i, k := range m.kids(s.UUID) {
			show(k, fmt.Sprintf("%s-%d", suffix, i+1))
		}
	}
	for _, s := range m.kids("") {
		show(s, "")
	}
}

// tree prints them for people.
func (c *call) tree(m *machine, parent, indent string) {
	for _, s := range m.kids(parent) {
		mark := ""
		if s.UUID == m.Current {
			mark = " *"
		}
		c.print("%sName: %s (UUID: %s)%s\n", indent, s.Name, s.UUID, mark)
		if s.Text != "" {
			c.print("%sDescription: %s\n", indent, s.Text)
		}
		c.tree(m, s.UUID, indent+"   ")
	}
}

func (c *call) take(m *machine, name string, opts options) error {
	at := where{"RTEXITCODE handleSnapshot(HandlerArg*)", 495, "VBoxManageSnapshot"}
	if path := c.missing(m); path != "" {
		return failTask("0%...", "NS_ERROR_FAILURE", "MediumWrap/IMedium", "Failed to take snapshot", fmt.Sprintf("Could not open the medium '%s'.\nVBoxManage: error: VD: error VERR_FILE_NOT_FOUND opening image file '%s' (VERR_FILE_NOT_FOUND)", path, path), at)
	}
	if opts.has("uniquename") {
		plain := name
		for n := 2; m.find(name) != nil; n++ {
			name = fmt.Sprint(plain, n)
		}
	}
	s := &snapshot{UUID: newUUID(), Parent: m.Current, Text: opts.or("description", ""), settings: m.settings.clone()}
	s.Name = name
	running := m.State == "running"
	if running {
		if err := c.qemu(m).Run("stop", nil, nil); err != nil {
			return err
		}
	}
	if err := c.overlay(m); err != nil {
		return err
	}
	if m.Running != nil {
		s.Saved = m.newSaved()
		if err := c.saveMemory(m, s.Saved); err != nil {
			return err
		}
	}
	if running {
		if err := c.qemu(m).Run("cont", nil, nil); err != nil {
			return err
		}
	}
	m.Snapshots, m.Current = append(m.Snapshots, s), s.UUID
	m.setState(m.State)
	c.progress()
	c.print("Snapshot taken. UUID: %s\n", s.UUID)
	return nil
}

func (m *machine) newSaved() string {
	return filepath.Join(m.snapFolder(), strings.Replace(time.Now().UTC().Format("2006-01-02T15-04-05.000000000Z"), ".", "-", 1)+".sav")
}

// overlay has the machine write to new media of differences.
func (c *call) overlay(m *machine) error {
	for _, ctl := range m.Controllers {
		for at, s := range ctl.Slots {
			if s.DVD {
				continue
			}
			old := c.medium(s.Medium)
			d, err := c.diff(m, old)
			if err != nil {
				return err
			}
			s.Medium = d.UUID
			if m.Running == nil {
				continue
			}
			l := m.Running.Disks[driveID(ctl, at)]
			was := *l
			m.Running.Overlays++
			l.Node = fmt.Sprintf("n%d", m.Running.Overlays)
			l.Overlay = filepath.Join(c.qemu(m).Dir, l.Node+".qcow2")
			l.Medium = d.UUID
			if err := c.qemu(m).Overlay(was.Node, l.Node, l.Overlay, d.Capacity); err != nil {
				return err
			}
			if err := c.sync(&was); err != nil {
				return err
			}
		}
	}
	return nil
}

// sync brings a medium up to date with what the machine has written.
func (h *home) sync(l *live) (err error) {
	d := h.medium(l.Medium)
	if d == nil {
		return fmt.Errorf("the medium %s is gone", l.Medium)
	}
	extents, err := testqemu.Extents(l.Overlay)
	if err != nil || len(extents) == 0 {
		return err
	}
	in, err := os.Open(l.Overlay)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	raw, err := os.OpenFile(l.Raw, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, raw.Close()) }()
	for _, e := range extents {
		if err := copyExtent(raw, in, e); err != nil {
			return err
		}
	}
	return d.update(raw, extents)
}

// update writes extents of the raw disk into the medium. One that is no VDI is written
// anew.
func (d *medium) update(raw *os.File, extents []testqemu.Extent) error {
	if d.Format == "VDI" {
		return store(d.Path, raw, extents)
	}
	if err := os.Remove(d.Path); err != nil {
		return err
	}
	if _, err := convert(raw.Name(), d.Path, d.Format, ""); err != nil {
		return err
	}
	if d.Format == "VMDK" {
		return nameVMDK(d.Path, d.UUID)
	}
	return nil
}

func copyExtent(raw, in *os.File, e testqemu.Extent) error {
	buf := make([]byte, min(e.Length, 4<<20))
	for done := int64(0); done < e.Length; done += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), e.Length-done)]
		if e.Zero {
			clear(buf)
		} else if _, err := in.ReadAt(buf, e.Offset+done); err != nil {
			return err
		}
		if _, err := raw.WriteAt(buf, e.Start+done); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) restore(m *machine, s *snapshot) error {
	if m.Running != nil {
		return lockedBy(m, where{"RestoreSnapshot(pSnapshot, pProgress.asOutParam())", 542, "VBoxManageSnapshot"})
	}
	c.print("Restoring snapshot '%s' (%s)\n", s.Name, s.UUID)
	for _, ctl := range m.Controllers {
		for _, slot := range ctl.Slots {
			if d := c.medium(slot.Medium); d != nil && d.Parent != "" && len(c.children(d)) == 0 {
				if _, all := c.users(d); len(all) == 1 {
					if err := c.drop(d, true); err != nil {
						return err
					}
				}
			}
		}
	}
	m.settings = s.settings.clone()
	m.settings.Name = strings.TrimSuffix(filepath.Base(m.File), ".vbox")
	for _, ctl := range m.Controllers {
		for _, slot := range ctl.Slots {
			if slot.DVD {
				continue
			}
			d, err := c.diff(m, c.medium(slot.Medium))
			if err != nil {
				return err
			}
			slot.Medium = d.UUID
		}
	}
	before := m.Saved
	m.Current, m.Saved = s.UUID, s.Saved
	m.setState("poweroff")
	if s.Saved != "" {
		m.setState("saved")
	}
	c.progress()
	return c.forget(before)
}

func (c *call) deleteSnapshot(m *machine, s *snapshot) error {
	c.print("Deleting snapshot '%s' (%s)\n", s.Name, s.UUID)
	kids := m.kids(s.UUID)
	at := where{"DeleteSnapshot(bstrSnapGuid.raw(), pProgress.asOutParam())", 554, "VBoxManageSnapshot"}
	if len(kids) > 1 {
		return fail("VBOX_E_INVALID_OBJECT_STATE", "SessionMachine/IMachine", fmt.Sprintf("Snapshot '%s' of the machine '%s' cannot be deleted, because it has %d child snapshots, which is more than the one snapshot allowed for deletion", s.Name, m.Name, len(kids)), at)
	}
	if len(kids) == 1 && m.Current == s.UUID {
		return fail("VBOX_E_INVALID_OBJECT_STATE", "SessionMachine/IMachine", fmt.Sprintf("Snapshot '%s' of the machine '%s' cannot be deleted, because it is the current snapshot and has one child snapshot", s.Name, m.Name), at)
	}
	var merged []*medium
	for _, ctl := range s.Controllers {
		for _, slot := range ctl.Slots {
			if d := c.medium(slot.Medium); d != nil && !d.DVD {
				merged = append(merged, d)
			}
		}
	}
	for _, d := range merged {
		if children := c.children(d); len(children) > 1 {
			return failTask("0%...", "NS_ERROR_FAILURE", "SessionMachine/IMachine", "Snapshot operation failed", fmt.Sprintf("Hard disk '%s' has more than one child hard disk (%d)", d.Path, len(children)),
				where{"RTEXITCODE handleSnapshot(HandlerArg*)", 564, "VBoxManageSnapshot"})
		}
	}
	for _, d := range merged {
		if err := c.merge(m, d); err != nil {
			return err
		}
	}
	for _, k := range kids {
		k.Parent = s.Parent
	}
	if m.Current == s.UUID {
		m.Current = s.Parent
	}
	m.Snapshots = slices.DeleteFunc(m.Snapshots, func(o *snapshot) bool { return o == s })
	c.progress()
	return c.forget(s.Saved)
}

// merge puts what the child of a medium holds into it, and has it be used instead. A
// running machine goes on: what it has written since is brought there later.
func (c *call) merge(m *machine, d *medium) (err error) {
	children := c.children(d)
	if len(children) == 0 {
		return c.drop(d, true)
	}
	child := children[0]
	raw := filepath.Join(c.dir, "merge.raw")
	defer func() { err = errors.Join(err, os.Remove(raw)) }()
	if err := c.flatten(child, raw); err != nil {
		return err
	}
	v, err := openVDI(child.Path, os.O_RDONLY)
	if err != nil {
		return err
	}
	var extents []testqemu.Extent
	for n := range v.u32(0x180) {
		if v.entry(n) != vdiNone {
			extents = append(extents, testqemu.Extent{Start: n * v.block(), Length: v.block()})
		}
	}
	f, err := os.Open(raw)
	if err != nil {
		return err
	}
	if err := errors.Join(d.update(f, extents), f.Close(), v.f.Close()); err != nil {
		return err
	}
	for _, g := range c.children(child) {
		g.Parent = d.UUID
		if err := setIDs(g.Path, "", d.UUID, ""); err != nil {
			return err
		}
	}
	for _, s := range append([]*snapshot{{settings: m.settings}}, m.Snapshots...) {
		for _, ctl := range s.Controllers {
			for _, slot := range ctl.Slots {
				if slot.Medium == child.UUID {
					slot.Medium = d.UUID
				}
			}
		}
	}
	if m.Running != nil {
		for _, l := range m.Running.Disks {
			if l.Medium == child.UUID {
				l.Medium = d.UUID
			}
		}
	}
	return c.drop(child, true)
}
