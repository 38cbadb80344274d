package vsphere

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/types"

	descriptor "bake.build/bake/internal/ovf"
	"bake.build/bake/platforms"
	disk "bake.build/bake/platforms/image"
	"bake.build/bake/platforms/resource"
)

// ofPackage returns what makes the machine of an OVA or of an OVF package.
func (d *driver) ofPackage(ctx context.Context, or Origin, o platforms.Origin, out platforms.Logger) (maker, error) {
	f, err := or.file(o)
	if err != nil {
		return nil, err
	}
	path, err := f.Verified(ctx, d.host, out)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, b *birth) (types.ManagedObjectReference, error) {
		ref, err := d.importPackage(ctx, path, b, d.ownMarks(&vm{}, b.token), nil, out)
		if err != nil {
			err = fmt.Errorf("%s: %w", f.Name, err)
		}
		return ref, err
	}, nil
}

// openPackage opens an OVA, or the folder of an OVF package.
func openPackage(path string) (*disk.Machine, error) {
	m, err := disk.OpenMachine(path)
	switch {
	case err != nil:
		return nil, err
	case m == nil:
		return nil, errors.New("is neither an OVA nor the folder of an OVF package")
	case m.Package() == nil:
		return nil, errors.Join(fmt.Errorf("is a %s, and vSphere imports OVF: want an OVA", m.Kind), m.Close())
	}
	return m, nil
}

// importPackage imports the machine of a package, with marks and what else its extra
// configuration is to have.
func (d *driver) importPackage(ctx context.Context, path string, b *birth, marks map[string]string, extra []types.BaseOptionValue, out platforms.Logger) (ref types.ManagedObjectReference, err error) {
	m, err := openPackage(path)
	if err != nil {
		return ref, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	t, err := d.target(ctx)
	if err != nil {
		return ref, err
	}
	pkg := m.Package()
	text, networks := string(pkg.Text), pkg.Envelope.Networks
	if !pkg.Envelope.VMware {
		_, _ = fmt.Fprintf(out, "the descriptor is not for hardware of VMware: it is described anew\n") // the log keeps its own error
		if text, networks, err = describeAnew(m.Machine); err != nil {
			return ref, err
		}
	}
	i := &importing{d: d, target: t, folder: b.folder, out: out}
	if err := i.prepare(ctx, text, b.name, networks); err != nil {
		return ref, err
	}
	for _, f := range i.files {
		of, err := i.ofPackage(pkg, f)
		if err != nil {
			return ref, err
		}
		i.members = append(i.members, of)
	}
	return i.begin(ctx, marks, extra)
}

// begin imports a machine of bake's own.
func (i *importing) begin(ctx context.Context, marks map[string]string, extra []types.BaseOptionValue) (types.ManagedObjectReference, error) {
	i.spec.ConfigSpec.ExtraConfig = append(append(i.spec.ConfigSpec.ExtraConfig, extraConfig(marks)...), extra...)
	ref, err := i.run(ctx)
	return ref, resource.Unclear(err)
}

// describeAnew is the descriptor of a machine for VMware's readers.
func describeAnew(m descriptor.Machine) (text string, networks []string, err error) {
	m.Flavor, m.UUID, m.MAC = descriptor.VMware, "", ""
	if _, cardErr := m.Encode(); cardErr != nil { // a bus or a card that VMware has not
		if m.Hardware.DiskBus == "virtio" {
			m.Hardware.DiskBus = "pvscsi"
		}
		if slices.Contains([]string{"virtio", "rtl8139"}, m.Hardware.NIC) {
			m.Hardware.NIC = "vmxnet3"
		}
	}
	b, err := m.Encode()
	return string(b), []string{m.Hardware.Network}, err
}

// ofPackage is the member that the server asks for.
func (i *importing) ofPackage(pkg *descriptor.Package, f types.OvfFileItem) (member, error) {
	file, ok := pkg.Envelope.File(f.Path)
	if !ok {
		return member{}, fmt.Errorf("the server asks for %s, and the package does not name it", f.Path)
	}
	return member{file: f, size: file.Size, write: func(ctx context.Context, w io.Writer, done func(n int64)) error {
		if strings.EqualFold(filepath.Ext(f.Path), ".iso") {
			return pkg.Copy(ctx, w, f.Path, func(n, _ int64) { done(n) })
		}
		s := &streamWriter{w: w}
		if err := pkg.Copy(ctx, s, f.Path, func(n, _ int64) { done(n) }); err != nil {
			return err
		}
		return s.end()
	}}, nil
}

// A streamWriter passes a disk on if it is a stream-optimized VMDK, the only kind that
// vSphere takes, and fails otherwise.
type streamWriter struct {
	w     io.Writer
	start []byte
	known bool
}

// errNoStream says that a disk is of another kind.
var errNoStream = errors.New("the disk is not a stream-optimized VMDK, and vSphere takes no other: export it as ova, or have ovftool do so")

// streamHead is how much of a disk says what it is: see VMware's Virtual Disk Format 5.0.
const streamHead = 12

// Write implements io.Writer.
func (s *streamWriter) Write(b []byte) (int, error) {
	if s.known {
		return s.w.Write(b)
	}
	s.start = append(s.start, b...)
	if len(s.start) < streamHead {
		return len(b), nil
	}
	const compressed, markers = 1 << 16, 1 << 17
	flags := binary.LittleEndian.Uint32(s.start[8:])
	if !bytes.HasPrefix(s.start, []byte("KDMV")) || flags&compressed == 0 || flags&markers == 0 {
		return 0, errNoStream
	}
	s.known = true
	if _, err := s.w.Write(s.start); err != nil {
		return 0, err
	}
	return len(b), nil
}

// end fails where there was too little of a disk.
func (s *streamWriter) end() error {
	if !s.known {
		return errNoStream
	}
	return nil
}
