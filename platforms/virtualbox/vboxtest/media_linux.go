package vboxtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"bake.build/bake/internal/testqemu"
)

// atOpen is where media are opened.
var atOpen = where{"OpenMedium(Bstr(pszFilenameOrUuid).raw(), enmDevType, enmAccessMode, fForceNewUuidOnOpen, pMedium.asOutParam())", 197, "VBoxManageDisk"}

// open returns a medium by its UUID or path, and registers a file that nobody knew.
func (h *home) open(name string, dvd bool) (*medium, error) {
	if isUUID(name) {
		if d := h.medium(strings.ToLower(strings.Trim(name, "{}"))); d != nil {
			return d, nil
		}
		return nil, fail("VBOX_E_OBJECT_NOT_FOUND", "VirtualBoxWrap/IVirtualBox", fmt.Sprintf("Could not find an open hard disk with UUID {%s}", strings.Trim(name, "{}")), atOpen)
	}
	path, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	for _, d := range h.Media {
		if d.Path == path {
			return d, nil
		}
	}
	d, err := probe(path, dvd)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fail("VBOX_E_FILE_ERROR", "MediumWrap/IMedium", fmt.Sprintf("Could not find file for the medium '%s' (VERR_FILE_NOT_FOUND)", path), atOpen)
	case errors.Is(err, errBadFormat):
		return nil, fail("VBOX_E_IPRT_ERROR", "MediumWrap/IMedium", fmt.Sprintf("Could not get the storage format of the medium '%s' (VERR_NOT_SUPPORTED)", path), atOpen)
	case errors.Is(err, errBadHeader):
		return nil, fail("VBOX_E_FILE_ERROR", "MediumWrap/IMedium", fmt.Sprintf("Could not open the medium '%s'.\nVBoxManage: error: VD: error %v opening image file '%s' (%v)", path, errBadHeader, path, errBadHeader), atOpen)
	case err != nil:
		return nil, err
	}
	return d, h.register(d)
}

// register takes a medium into the registry.
func (h *home) register(d *medium) error {
	if other := h.medium(d.UUID); other != nil {
		return fail("NS_ERROR_INVALID_ARG", "VirtualBoxWrap/IVirtualBox", fmt.Sprintf("Cannot register the hard disk '%s' {%s} because a hard disk '%s' with UUID {%s} already exists", d.Path, d.UUID, other.Path, d.UUID), atOpen)
	}
	if parent := h.medium(d.Parent); parent != nil {
		d.Owner = parent.Owner
	} else if d.Parent != "" {
		return fail("VBOX_E_OBJECT_NOT_FOUND", "MediumWrap/IMedium", fmt.Sprintf("Parent medium with UUID {%s} of the medium '%s' is not found in the media registry ('%s')", d.Parent, d.Path, filepath.Join(h.dir, "VirtualBox.xml")), atOpen)
	}
	h.Media = append(h.Media, d)
	return nil
}

var anyUUID = regexp.MustCompile(`(?m)^ddb\.uuid\..*\n`)

var ddbUUID = regexp.MustCompile(`ddb\.uuid\.image="([0-9a-f-]{36})"`)

// formats are those that are known, with QEMU's names.
var formats = map[string]string{"VDI": "vdi", "VMDK": "vmdk", "VHD": "vpc", "RAW": "raw", "QCOW": "qcow2"}

// probe finds out what a file is.
func probe(path string, dvd bool) (*medium, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	d := &medium{Path: path, Type: "normal", Variant: "dynamic default", DVD: dvd, Capacity: info.Size()}
	if dvd {
		d.Format, d.Type, d.UUID = "RAW", "readonly", newUUID()
		return d, nil
	}
	head, foot := make([]byte, min(info.Size(), 1<<16)), make([]byte, min(info.Size(), 512))
	_, headErr := f.ReadAt(head, 0)
	_, footErr := f.ReadAt(foot, info.Size()-int64(len(foot)))
	if err := errors.Join(headErr, footErr); err != nil {
		return nil, err
	}
	return d, probeDisk(d, head, foot)
}

// probeDisk finds out what a disk is by the first 64 KiB of its file and the last sector.
func probeDisk(d *medium, text, foot []byte) error {
	ext := strings.ToLower(filepath.Ext(d.Path))
	switch {
	case len(text) > vdiHeaderEnd && bytes.Equal(text[0x40:0x44], []byte{0x7f, 0x10, 0xda, 0xbe}):
		v, err := openVDI(d.Path, os.O_RDONLY)
		if err != nil {
			return err
		}
		d.Format, d.UUID, d.Capacity = "VDI", v.id(0x188), v.size()
		if parent := v.id(0x1a8); strings.Trim(parent, "0-") != "" {
			d.Parent, d.Variant = parent, "differencing default"
		}
		return v.f.Close()
	case bytes.HasPrefix(text, []byte("KDMV")):
		d.Format = "VMDK"
		if m := ddbUUID.FindSubmatch(text); m != nil {
			d.UUID = string(m[1])
		} else {
			d.UUID, d.Broken = newUUID(), true
		}
		if bytes.Contains(text, []byte("streamOptimized")) {
			d.Variant = "dynamic streamOptimized"
		}
	case bytes.HasPrefix(foot, []byte("conectix")):
		d.Format, d.UUID = "VHD", newUUID()
	case bytes.HasPrefix(text, []byte("QFI\xfb")):
		d.Format, d.UUID = "QCOW", newUUID()
	case ext == ".raw" || ext == ".img":
		d.Format, d.UUID = "RAW", newUUID()
		return nil
	default:
		return errBadFormat
	}
	size, err := virtualSize(d)
	if err != nil {
		return errBadFormat
	}
	d.Capacity = size
	return nil
}

func virtualSize(d *medium) (int64, error) {
	said, err := testqemu.Img("info", "-U", "--output=json", "-f", formats[d.Format], d.Path)
	if err != nil {
		return 0, err
	}
	var info struct {
		Size int64 `json:"virtual-size"`
	}
	return info.Size, json.Unmarshal([]byte(said), &info)
}

// flatten writes the disk that the medium and its parents hold to a new raw file.
func (h *home) flatten(d *medium, raw string) (err error) {
	all := h.chain(d)
	if base := all[len(all)-1]; base.Format != "VDI" {
		if _, err := testqemu.Img("convert", "-U", "-f", formats[base.Format], "-O", "raw", base.Path, raw); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(raw, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(d.Capacity); err != nil {
		return err
	}
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Format != "VDI" {
			continue
		}
		if err := apply(f, all[i].Path); err != nil {
			return fmt.Errorf("%s: %w", all[i].Path, err)
		}
	}
	return nil
}

// convert writes a raw file as a new medium.
func convert(raw, path, format, variant string) (*medium, error) {
	args := []string{"convert", "-f", "raw", "-O", formats[format]}
	switch {
	case format == "VMDK" && strings.EqualFold(variant, "Stream"):
		args = append(args, "-o", "subformat=streamOptimized")
	case format == "VHD" && strings.EqualFold(variant, "Fixed"):
		args = append(args, "-o", "subformat=fixed,force_size=on")
	case format == "VHD":
		args = append(args, "-o", "force_size=on")
	}
	if _, err := testqemu.Img(append(args, raw, path)...); err != nil {
		return nil, err
	}
	if format == "VMDK" {
		if err := nameVMDK(path, newUUID()); err != nil {
			return nil, err
		}
	}
	d, err := probe(path, false)
	if errors.Is(err, errBadFormat) && format == "RAW" {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		return &medium{Path: path, Type: "normal", Variant: "fixed default", UUID: newUUID(), Format: "RAW", Capacity: info.Size()}, nil
	}
	return d, err
}

// nameVMDK writes UUIDs into the descriptor in the file of a VMDK.
func nameVMDK(path, uuid string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	const zero = "00000000-0000-0000-0000-000000000000"
	text := make([]byte, 20*512-512)
	n, _ := f.ReadAt(text, 512) // a small file may be shorter
	text = bytes.TrimRight(text[:n], "\x00")
	text = anyUUID.ReplaceAll(text, nil)
	text = fmt.Appendf(text, "ddb.uuid.image=%q\nddb.uuid.parent=%q\nddb.uuid.modification=%q\nddb.uuid.parentmodification=%q\n", uuid, zero, newUUID(), zero)
	_, err = f.WriteAt(append(text, make([]byte, n-min(n, len(text)))...), 512)
	return errors.Join(err, f.Close())
}

func (c *call) convertFromRaw() error {
	pos, opts := split(c.args[1:], map[string]int{"format": 1, "variant": 1, "uuid": 1})
	if len(pos) < 2 {
		return usage("Incorrect number of parameters\n", "Convert a raw disk image to a virtual disk image", 2)
	}
	from, to := pos[0], pos[1]
	fmt.Fprintf(&c.err, "Converting from raw image file=\"%s\" to file=\"%s\"...\n", from, to)
	size := int64(0)
	raw := from
	if from == "stdin" && len(pos) > 2 {
		size, _ = strconv.ParseInt(pos[2], 10, 64) // zero makes an empty medium
		f, err := os.CreateTemp(c.dir, "stdin")
		if err != nil {
			return err
		}
		raw = f.Name()
		defer func() { _ = os.Remove(raw) }()
		if _, err := f.ReadFrom(os.Stdin); err != nil {
			return err
		}
		if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
			return err
		}
	} else if info, err := os.Stat(from); err != nil {
		return plain("Cannot open file \"%s\": VERR_FILE_NOT_FOUND", from)
	} else {
		size = info.Size()
	}
	format, variant := strings.ToUpper(opts.or("format", "VDI")), opts.or("variant", "Standard")
	kind := "dynamic"
	if strings.EqualFold(variant, "Fixed") {
		kind = "fixed"
	}
	fmt.Fprintf(&c.err, "Creating %s image with size %d bytes (%dMB)...\n", kind, size, size>>20)
	if formats[format] == "" {
		return plain("Cannot create the disk image \"%s\": VERR_NOT_FOUND", to)
	}
	if _, err := os.Stat(to); err == nil {
		return plain("%s: cannot create image '%s'\nVBoxManage: error: Error code VERR_ALREADY_EXISTS at /src/VBox/Storage/VDI.cpp(700) in function int vdiImageCreateFile(PVDIIMAGEDESC, unsigned int, PVDINTERFACEPROGRESS, unsigned int, unsigned int)\nVBoxManage: error: Cannot create the disk image \"%s\": VERR_ALREADY_EXISTS", format, to, to)
	}
	_, err := convert(raw, to, format, variant)
	return err
}

func (c *call) showMedium() error {
	pos, _ := split(c.args[1:], nil)
	dvd := len(pos) > 1 && pos[0] == "dvd"
	if len(pos) > 1 {
		pos = pos[1:]
	}
	if len(pos) == 0 {
		return usage("Incorrect number of parameters\n", "Show information about a medium", 2)
	}
	d, err := c.open(pos[0], dvd)
	if err != nil {
		return err
	}
	c.describe(d, true)
	return nil
}

// describe prints what there is to say of a medium.
func (c *call) describe(d *medium, long bool) {
	parent, kind, state := d.Parent, "base", "created"
	if parent == "" {
		parent = "base"
	} else {
		kind = "differencing"
	}
	info, err := os.Stat(d.Path)
	if err != nil || d.Broken {
		state = "inaccessible"
	}
	c.print("UUID:           %s\n", d.UUID)
	if !d.DVD {
		c.print("Parent UUID:    %s\n", parent)
	}
	c.print("State:          %s\n", state)
	if d.DVD {
		c.print("Type:           readonly\n")
	} else {
		c.print("Type:           %s (%s)\n", d.Type, kind)
	}
	if long && d.Parent != "" {
		c.print("Auto-Reset:     off\n")
	}
	c.print("Location:       %s\nStorage format: %s\n", d.Path, d.Format)
	if long {
		c.print("Format variant: %s\n", d.Variant)
	}
	c.print("Capacity:       %d MBytes\n", d.Capacity>>20)
	if long && info != nil {
		c.print("Size on disk:   %d MBytes\n", info.Size()>>20)
	}
	c.print("Encryption:     disabled\n")
	if !long {
		return
	}
	switch d.Format {
	case "VDI":
		c.print("Property:       AllocationBlockSize=1048576\n")
	case "VMDK":
		c.print("Property:       BootSector=\n                Partitions=\n                RawDrive=\n                Relative=\n")
	}
	c.usersOf(d)
}

func (c *call) usersOf(d *medium) {
	_, all := c.users(d)
	for i, m := range all {
		label := "In use by VMs:  "
		if i > 0 {
			label = "                "
		}
		c.print("%s%s (UUID: %s)", label, m.Name, m.UUID)
		for _, s := range m.Snapshots {
			if s.has(d.UUID) {
				c.print(" [%s (UUID: %s)]", s.Name, s.UUID)
			}
		}
		c.print("\n")
	}
	for i, child := range c.children(d) {
		label := "Child UUIDs:    "
		if i > 0 {
			label = "                "
		}
		c.print("%s%s\n", label, child.UUID)
	}
}
