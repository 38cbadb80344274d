package qemu

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	virtual "bake.build/bake/internal/hardware"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image"
)

// openMachine opens the image i, which describes a machine and may be compressed, as boxes
// are: it is decompressed into the folder scratch.
func openMachine(ctx context.Context, i platforms.Image, scratch string, out platforms.Logger) (*image.Machine, error) {
	if i.Changes != "" {
		return nil, errors.New("what the machine writes is kept on top of an image of a disk, and this holds its disk packed")
	}
	path, err := image.Unpack(ctx, i.Path, scratch, decompressing(out))
	if err != nil {
		return nil, err
	}
	m, err := image.OpenMachine(path)
	if err != nil {
		return nil, err
	}
	if m == nil {
		return nil, errors.New("does not describe a machine")
	}
	if m.Disks[0].File == "" {
		return nil, errors.Join(errors.New("the machine's first disk is empty"), m.Close())
	}
	return m, nil
}

// takeHardware sets what a descriptor says of a machine, so that what is started is the
// machine that the descriptor's reader would make. What it does not say stays.
func (s *settings) takeHardware(h virtual.Options, out platforms.Logger) error {
	if h.CPUs != 0 {
		s.cpus = h.CPUs
	}
	memory, err := h.MemorySize()
	if err != nil {
		return err
	}
	if memory != 0 {
		const step = 2 << 20
		s.memory = (memory + step - 1) / step * step
	}
	if h.NIC != "" {
		s.nic = h.NIC
	}
	if h.DiskBus != "" {
		s.diskBus = h.DiskBus
	}
	s.tpm = s.tpm || h.TPM
	if h.UEFI() && s.firmware.code == "" {
		s.firmware = firmware{uefi: true, secure: h.SecureBoot}
	}
	if s.firmware.uefi && s.firmware.code == "" && slices.Contains(biosOnly, s.diskBus) {
		fmt.Fprintf(out, "the disk hangs on virtio's SCSI controller in place of %s, which the UEFI firmware that is packaged for QEMU does not boot from\n", s.diskBus)
		s.diskBus = "scsi"
	}
	if s.diskBus == "ide" && s.arch == "arm64" {
		s.diskBus = "sata"
	}
	s.machine = defaultMachine(s.arch, s.firmware, s.diskBus)
	return s.checkHardware()
}

// decompressing tells how much of a file was decompressed.
func decompressing(out platforms.Logger) func(done, total int64) {
	return func(done, total int64) { out.Progress("decompress the disk", done, total) }
}

// extracting tells how much of a disk was taken out of its package.
func extracting(out platforms.Logger) func(done, total int64) {
	return func(done, total int64) { out.Progress("extract the disk", done, total) }
}

// addFurther attaches the machine's disks after the first.
func (m *machine) addFurther(ctx context.Context, described *image.Machine, out platforms.Logger) error {
	for i := 1; i < len(described.Disks); i++ {
		path, err := described.Disk(ctx, i, m.dir, extracting(out))
		if err != nil {
			return err
		}
		top := filepath.Join(m.dir, fmt.Sprintf("further%d.qcow2", i))
		size := described.Disks[i].Capacity
		var below *node
		if path != "" {
			if below, err = image.Open(path, ""); err != nil {
				return err
			}
			size = below.Size
		}
		if err := createImage(ctx, top, size); err != nil {
			return err
		}
		m.hw.overlays = append(m.hw.overlays, overlay(fmt.Sprintf("disk%d-0", i), top, below))
	}
	return nil
}

// importMachine makes the images of a first layer from a machine that was described.
func (d *driver) importMachine(ctx context.Context, m *image.Machine, dir string, out platforms.Logger) (err error) {
	if h := m.Hardware; h.Firmware != "" && h.UEFI() != d.settings.firmware.uefi {
		return fmt.Errorf("the %s is of a machine that starts with %s: qemu(firmware = %q)", m.Kind, h.Firmware, h.Firmware)
	}
	if n := len(m.Disks) - 1; n != len(d.settings.disks) {
		return fmt.Errorf("the %s has %d disks after the first, and qemu(disks = …) says %d", m.Kind, n, len(d.settings.disks))
	}
	scratch, remove, err := d.host.TempDir("disk")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	for i := range m.Disks {
		path, err := m.Disk(ctx, i, scratch, extracting(out))
		if err != nil {
			return err
		}
		if path == "" {
			if err := createImage(ctx, filepath.Join(dir, diskName(i)), m.Disks[i].Capacity); err != nil {
				return err
			}
			continue
		}
		if err := d.importImage(ctx, path, dir, i, out); err != nil {
			return fmt.Errorf("%s: %w", m.Disks[i].File, err)
		}
	}
	return d.addVariables(dir)
}
