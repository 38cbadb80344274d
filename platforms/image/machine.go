package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bake.build/bake/internal/ovf"
	"bake.build/bake/internal/regular"
	"bake.build/bake/internal/vmx"
)

// A Machine is what describes a machine and has its disks: an OVA, the descriptor of an
// OVF package or the folder of one, a VMX file or its folder, or a box of Vagrant.
type Machine struct {
	Kind string // "OVA", "OVF", "VMX" or "box"
	ovf.Machine

	files *ovf.Files
	pkg   *ovf.Package // of an OVA and an OVF package, whose digests it compares
}

// OpenMachine opens what describes a machine at path. It returns nil where path is
// something else, such as the image of a disk. Describes a machine: what its content
// says, not its name.
func OpenMachine(path string) (*Machine, error) {
	m, err := openDescribed(path)
	if m != nil && err == nil && len(m.Disks) == 0 {
		return nil, errors.Join(fmt.Errorf("is the %s of a machine without a disk", m.Kind), m.Close())
	}
	return m, err
}

// openDescribed is OpenMachine for a machine with or without disks.
func openDescribed(path string) (*Machine, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return openMachineFolder(path)
	}
	start, err := head(path, 4<<10)
	if err != nil {
		return nil, err
	}
	switch {
	case isTar(start):
		return openMachineArchive(path)
	case isXML(start):
		return openOVF("OVF", path)
	case isVMX(start):
		return openVMX(filepath.Dir(path), filepath.Base(path))
	}
	return nil, nil
}

// OpenOrigin is OpenMachine for an origin, whose content is what the key of its layer is
// made of: it refuses a descriptor without the files that it names.
func OpenOrigin(path string) (*Machine, error) {
	m, err := OpenMachine(path)
	if m == nil || err != nil {
		return m, err
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
	case m.Disks[0].File == "":
		err = fmt.Errorf("is the %s of a machine whose first disk is empty", m.Kind)
	case (m.Kind == "OVF" || m.Kind == "VMX") && !info.IsDir():
		err = fmt.Errorf("the %s file names others, which are not part of the layer's key: give their folder", m.Kind)
	}
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// maxText bounds a text that describes a machine, in bytes.
const maxText = 1 << 20

// head returns the beginning of a regular file, at most most bytes.
func head(path string, most int) (_ []byte, err error) {
	f, err := regular.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b := make([]byte, most)
	n, err := io.ReadFull(f, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return b[:n], err
}

// isTar reports whether data begin with a header of a tar archive, as of POSIX.
func isTar(b []byte) bool { return len(b) >= 512 && string(b[257:262]) == "ustar" }

func isXML(b []byte) bool {
	text := strings.TrimLeft(strings.TrimPrefix(string(b), "\ufeff"), " \t\r\n")
	return strings.HasPrefix(text, "<?xml") || strings.HasPrefix(text, "<Envelope") || strings.HasPrefix(text, "<ovf:Envelope")
}

// isVMX reports whether data are lines of keys and quoted values, one of which VMX files
// have.
func isVMX(b []byte) bool {
	for line := range strings.Lines(string(b)) {
		key, value, ok := strings.Cut(line, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		if ok && (key == "config.version" || key == "virtualhw.version" || key == ".encoding") && strings.HasPrefix(strings.TrimSpace(value), `"`) {
			return true
		}
	}
	return false
}

// openMachineFolder opens the one descriptor in a folder.
func openMachineFolder(dir string) (*Machine, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, e := range entries {
		if ext := strings.ToLower(filepath.Ext(e.Name())); (ext == ".ovf" || ext == ".vmx") && !strings.HasPrefix(e.Name(), "._") {
			found = append(found, e.Name())
		}
	}
	switch {
	case len(found) == 0:
		return nil, errors.New("is a folder without a descriptor: it has neither an .ovf nor a .vmx file")
	case len(found) > 1:
		return nil, fmt.Errorf("is a folder with %d descriptors: %s", len(found), strings.Join(found, ", "))
	case strings.EqualFold(filepath.Ext(found[0]), ".vmx"):
		return openVMX(dir, found[0])
	}
	return openOVF("OVF", filepath.Join(dir, found[0]))
}

func openOVF(kind, path string) (*Machine, error) {
	p, err := ovf.Open(path)
	if err != nil {
		return nil, err
	}
	m, err := p.Envelope.Machine()
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return &Machine{Kind: kind, Machine: *m, files: p.Files, pkg: p}, nil
}

func openVMX(dir, name string) (*Machine, error) {
	files, err := ovf.OpenFolder(dir)
	if err != nil {
		return nil, err
	}
	return vmxOf("VMX", files, name)
}

// vmxOf reads a VMX file of files.
func vmxOf(kind string, files *ovf.Files, name string) (*Machine, error) {
	text, err := files.Bytes(name, maxText)
	if err != nil {
		return nil, errors.Join(err, files.Close())
	}
	m, err := vmx.Parse(text)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), files.Close())
	}
	return &Machine{Kind: kind, Machine: *m, files: files}, nil
}

// openMachineArchive opens an OVA or a box.
func openMachineArchive(path string) (*Machine, error) {
	files, err := ovf.OpenArchive(path)
	if err != nil {
		return nil, err
	}
	if !files.Has("metadata.json") {
		if err := files.Close(); err != nil {
			return nil, err
		}
		return openOVF("OVA", path)
	}
	m, err := box(files, path)
	if err != nil {
		return nil, fmt.Errorf("box: %w", err)
	}
	return m, nil
}

// box reads a box of Vagrant, whose files it takes over.
func box(files *ovf.Files, path string) (_ *Machine, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, files.Close())
		}
	}()
	text, err := files.Bytes("metadata.json", maxText)
	if err != nil {
		return nil, err
	}
	var metadata struct{ Provider string }
	if err := json.Unmarshal(text, &metadata); err != nil {
		return nil, fmt.Errorf("metadata.json: %w", err)
	}
	one := func(exts ...string) (string, error) {
		var found []string
		for _, name := range files.Names() {
			if slices.Contains(exts, strings.ToLower(filepath.Ext(name))) {
				found = append(found, name)
			}
		}
		if len(found) != 1 {
			return "", fmt.Errorf("it has %d files with the end %s: want one", len(found), strings.Join(exts, " or "))
		}
		return found[0], nil
	}
	switch metadata.Provider {
	case "virtualbox":
		if err := files.Close(); err != nil {
			return nil, err
		}
		files = &ovf.Files{}
		return openOVF("box", path)
	case "vmware_desktop", "vmware_workstation", "vmware_fusion":
		name, err := one(".vmx")
		if err != nil {
			return nil, err
		}
		return vmxOf("box", files, name)
	case "libvirt":
		return plainBox(files, "virtio", func() (string, error) { return one(".img", ".qcow2") })
	case "hyperv":
		return plainBox(files, "scsi", func() (string, error) { return one(".vhdx", ".vhd") })
	}
	return nil, fmt.Errorf("bake does not read boxes for the provider %q", metadata.Provider)
}

// plainBox is a box that says no more of the machine than its disk.
func plainBox(files *ovf.Files, bus string, disk func() (string, error)) (*Machine, error) {
	name, err := disk()
	if err != nil {
		return nil, err
	}
	m := &Machine{Kind: "box", files: files}
	m.Hardware.DiskBus = bus
	m.Disks = []ovf.Disk{{File: name}}
	return m, nil
}

// Package returns the OVA or OVF package that the machine is of, or nil. Close closes it.
func (m *Machine) Package() *ovf.Package { return m.pkg }

// Close closes the files.
func (m *Machine) Close() error { return m.files.Close() }

// Disk returns the path of the image of disk i: the file itself where it is one beside a
// VMX file and in one piece, else a new file in the folder dir, whose digest is compared. A
// disk that is empty at first has the path "". progress may be nil.
func (m *Machine) Disk(ctx context.Context, i int, dir string, progress func(done, total int64)) (string, error) {
	d := m.Disks[i]
	if d.File == "" {
		return "", nil
	}
	dst := filepath.Join(dir, fmt.Sprintf("disk%d.image", i))
	if m.pkg != nil {
		return dst, writeNew(dst, func(f *os.File) error { return m.pkg.Copy(ctx, f, d.File, progress) })
	}
	if !m.files.Has(d.File) {
		return "", fmt.Errorf("the disk %q is not there", d.File)
	}
	if p := m.files.Path(d.File); p != "" {
		dst = p
	} else if err := m.extract(ctx, d.File, dst); err != nil {
		return "", err
	}
	path, err := joinExtents(ctx, dst, dir, m.extentMember(ctx, d.File, dir))
	if err != nil {
		return "", fmt.Errorf("the disk %q: %w", d.File, err)
	}
	return path, nil
}

// extract writes a member of the machine's archive to a new file.
func (m *Machine) extract(ctx context.Context, name, dst string) (err error) {
	r, err := m.files.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return writeNew(dst, func(f *os.File) error {
		_, err := io.Copy(f, &contextReader{ctx, r})
		return err
	})
}

// writeNew has fill write a new file.
func writeNew(path string, fill func(f *os.File) error) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return fill(f)
}

// A contextReader ends when its context does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(b)
}
