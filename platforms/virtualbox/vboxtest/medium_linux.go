package vboxtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

func (c *call) createMedium() error {
	pos, opts := split(c.args[1:], map[string]int{"filename": 1, "size": 1, "sizebyte": 1, "format": 1, "variant": 1, "diffparent": 1})
	at := where{"RTEXITCODE handleCreateMedium(HandlerArg*)", 630, "VBoxManageDisk"}
	if len(pos) > 0 && pos[0] != "disk" || !opts.has("filename") {
		return usage("Parameters --filename and --size are required\n", "Create a new medium", 2)
	}
	path, err := filepath.Abs(opts.or("filename", ""))
	if err != nil {
		return err
	}
	size, _ := strconv.ParseInt(opts.or("size", "0"), 10, 64) // of a medium with a parent it is the parent's
	size <<= 20
	if opts.has("sizebyte") {
		size, _ = strconv.ParseInt(opts.or("sizebyte", "0"), 10, 64)
	}
	format := strings.ToUpper(opts.or("format", "VDI"))
	if filepath.Ext(path) == "" {
		path += "." + strings.ToLower(format)
	}
	parent := (*medium)(nil)
	if opts.has("diffparent") {
		if parent, err = c.open(opts.or("diffparent", ""), false); err != nil {
			return err
		}
		size = parent.Capacity
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return failTask("0%...", "VBOX_E_IPRT_ERROR", "VirtualBoxWrap/IVirtualBox", "Failed to create medium", fmt.Sprintf("Could not create the directory '%s' (VERR_FILE_NOT_FOUND)", filepath.Dir(path)), at)
	}
	if _, err := os.Stat(path); err == nil {
		return failTask("0%...", "VBOX_E_FILE_ERROR", "MediumWrap/IMedium", "Failed to create medium", fmt.Sprintf("Could not create the medium storage unit '%s'.\nVBoxManage: error: %s: cannot create image '%s' (VERR_ALREADY_EXISTS)", path, format, path), at)
	}
	d, err := c.make(path, format, opts.or("variant", "Standard"), parent, size)
	if err != nil {
		return err
	}
	c.progress()
	c.print("Medium created. UUID: %s\n", d.UUID)
	return nil
}

// make makes and registers an empty medium.
func (h *home) make(path, format, variant string, parent *medium, size int64) (*medium, error) {
	if format == "VDI" || parent != nil {
		d := &medium{UUID: newUUID(), Path: path, Format: "VDI", Type: "normal", Variant: "dynamic default", Capacity: size}
		change := ""
		if parent != nil {
			d.Parent, d.Variant = parent.UUID, "differencing default"
			if change = newUUID(); parent.Format == "VDI" {
				v, err := openVDI(parent.Path, os.O_RDONLY)
				if err != nil {
					return nil, err
				}
				change = v.id(0x198)
				if err := v.f.Close(); err != nil {
					return nil, err
				}
			}
		}
		if err := createVDI(path, d.UUID, d.Parent, change, size); err != nil {
			return nil, err
		}
		return d, h.register(d)
	}
	raw := path + ".raw"
	if err := os.WriteFile(raw, nil, 0o600); err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(raw) }()
	if err := os.Truncate(raw, size); err != nil {
		return nil, err
	}
	d, err := convert(raw, path, format, variant)
	if err != nil {
		return nil, err
	}
	return d, h.register(d)
}

// diff makes a medium of differences for a machine.
func (h *home) diff(m *machine, parent *medium) (*medium, error) {
	name := fmt.Sprintf("{%s}.vdi", newUUID())
	path := filepath.Join(m.snapFolder(), name)
	d, err := h.make(path, "VDI", "", parent, parent.Capacity)
	if err != nil {
		return nil, err
	}
	at := filepath.Join(m.snapFolder(), "{"+d.UUID+"}.vdi")
	d.Path = at
	return d, os.Rename(path, at)
}

// drop takes a medium out of the registry, and its file off the disk if remove says so.
func (h *home) drop(d *medium, remove bool) error {
	h.Media = slices.DeleteFunc(h.Media, func(o *medium) bool { return o == d })
	if !remove {
		return nil
	}
	if err := os.Remove(d.Path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (c *call) closeMedium() error {
	pos, opts := split(c.args[1:], map[string]int{})
	kind := "disk"
	if len(pos) > 1 {
		kind, pos = pos[0], pos[1:]
	}
	if len(pos) == 0 {
		return usage("No medium given\n", "Close a medium", 2)
	}
	d, err := c.open(pos[0], kind == "dvd")
	if err != nil {
		return err
	}
	closing, deleting := where{"Close()", 1875, "VBoxManageDisk"}, where{"DeleteStorage(pProgress.asOutParam())", 1866, "VBoxManageDisk"}
	now, all := c.users(d)
	children := c.children(d)
	code, forDelete, forClose := "VBOX_E_OBJECT_IN_USE", "", ""
	switch {
	case slices.ContainsFunc(now, func(m *machine) bool { return m.Running != nil }):
		code = "VBOX_E_INVALID_OBJECT_STATE"
		forClose = fmt.Sprintf("Medium '%s' is locked for writing by another task", d.Path)
		forDelete = forClose
	case len(children) > 0:
		forClose = fmt.Sprintf("Cannot close medium '%s' because it has %d child media", d.Path, len(children))
		forDelete = forClose
	case len(all) > 0:
		var ids []string
		for _, m := range all {
			ids = append(ids, m.UUID)
		}
		forDelete = fmt.Sprintf("Cannot delete storage: medium '%s' is still attached to the following %d virtual machine(s): %s", d.Path, len(all), strings.Join(ids, ", "))
		forClose = fmt.Sprintf("Medium '%s' cannot be closed because it is still attached to %d virtual machines", d.Path, len(all))
	}
	if forClose != "" {
		f := fail(code, "MediumWrap/IMedium", forClose, closing)
		if opts.has("delete") {
			f.text = fail(code, "MediumWrap/IMedium", forDelete, deleting).text + fmt.Sprintf("VBoxManage: error: Failed to delete medium. Error code %s\n", code) + f.text
		}
		return f
	}
	if opts.has("delete") {
		c.progress()
	}
	return c.drop(d, opts.has("delete"))
}

func (c *call) modifyMedium() error {
	pos, opts := split(c.args[1:], map[string]int{"resize": 1, "resizebyte": 1, "type": 1, "move": 1})
	if len(pos) > 1 {
		pos = pos[1:]
	}
	if len(pos) == 0 {
		return usage("No medium given\n", "Change medium with the characteristics of an existing disk image", 2)
	}
	d, err := c.open(pos[0], false)
	if err != nil {
		return err
	}
	at := where{"RTEXITCODE handleModifyMedium(HandlerArg*)", 937, "VBoxManageDisk"}
	if opts.has("type") {
		d.Type = strings.ToLower(opts.or("type", "normal"))
	}
	if opts.has("compact") {
		if d.Format != "VDI" {
			return &failure{exit: 1, text: "0%...VBOX_E_NOT_SUPPORTED\nVBoxManage: error: Compact medium operation for this format is not implemented yet!\n"}
		}
		c.progress()
	}
	if opts.has("resize") || opts.has("resizebyte") {
		mib, _ := strconv.ParseInt(opts.or("resize", "0"), 10, 64) // zero is too small anyway
		size := mib << 20
		if opts.has("resizebyte") {
			size, _ = strconv.ParseInt(opts.or("resizebyte", "0"), 10, 64)
		}
		if size < d.Capacity {
			return failTask("0%...", "VBOX_E_NOT_SUPPORTED", "MediumWrap/IMedium", "Failed to resize medium", fmt.Sprintf("Shrinking is not yet supported for medium '%s'", d.Path), at)
		}
		if err := c.resize(d, size); err != nil {
			return err
		}
		c.progress()
	}
	return nil
}

// resize makes the medium larger, by writing it anew.
func (h *home) resize(d *medium, size int64) error {
	raw := filepath.Join(h.dir, "resize.raw")
	defer func() { _ = os.Remove(raw) }()
	if err := h.flatten(d, raw); err != nil {
		return err
	}
	if err := os.Truncate(raw, size); err != nil {
		return err
	}
	if err := os.Remove(d.Path); err != nil {
		return err
	}
	if _, err := convert(raw, d.Path, d.Format, ""); err != nil {
		return err
	}
	d.Capacity = size
	if d.Format == "VDI" {
		return setIDs(d.Path, d.UUID, "", "")
	}
	return nil
}

func (c *call) cloneMedium() error {
	pos, opts := split(c.args[1:], map[string]int{"format": 1, "variant": 1})
	if len(pos) > 2 {
		pos = pos[1:]
	}
	if len(pos) < 2 {
		return usage("Mandatory parameters are missing\n", "Create a clone of a medium", 2)
	}
	d, err := c.open(pos[0], false)
	if err != nil {
		return err
	}
	at := where{"RTEXITCODE handleCloneMedium(HandlerArg*)", 1208, "VBoxManageDisk"}
	if now, _ := c.users(d); slices.ContainsFunc(now, func(m *machine) bool { return m.Running != nil }) {
		return failTask("0%...", "VBOX_E_INVALID_OBJECT_STATE", "MediumWrap/IMedium", "Failed to clone medium", fmt.Sprintf("Medium '%s' is locked for writing by another task", d.Path), at)
	}
	path, err := filepath.Abs(pos[1])
	if err != nil {
		return err
	}
	format := strings.ToUpper(opts.or("format", d.Format))
	called := map[string]string{"RAW": "Raw"}[format]
	if called == "" {
		called = format
	}
	if _, err := os.Stat(path); err == nil && !opts.has("existing") {
		return failTask("0%...", "VBOX_E_FILE_ERROR", "MediumWrap/IMedium", "Failed to clone medium", fmt.Sprintf("Could not create the clone medium '%s'.\nVBoxManage: error: %s: cannot create image '%s' (VERR_ALREADY_EXISTS)", path, called, path), at)
	}
	n, err := c.copy(d, path, format, opts.or("variant", ""))
	if err != nil {
		return err
	}
	c.progress()
	c.print("Clone medium created in format '%s'. UUID: %s\n", format, n.UUID)
	return nil
}

// copy writes what a medium and its parents hold as a new whole medium.
func (h *home) copy(d *medium, path, format, variant string) (*medium, error) {
	raw := filepath.Join(h.dir, "copy.raw")
	defer func() { _ = os.Remove(raw) }()
	if err := h.flatten(d, raw); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	n, err := convert(raw, path, format, variant)
	if err != nil {
		return nil, err
	}
	return n, h.register(n)
}
