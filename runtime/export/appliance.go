package export

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/ovf"
	"bake.build/bake/internal/vmdk"
	"bake.build/bake/internal/vmx"
	"bake.build/bake/runtime/disk"
	"bake.build/bake/runtime/disk/drivers"
)

var ova = Format{
	Name: "ova", Describes: "ovf", Ext: ".ova", From: FromDisk, RunsOn: &drivers.VMware, Streams: true,
	Doc: "A machine in one file, for vSphere, VMware's desktop programs, VirtualBox and others: an OVF descriptor, a manifest and the disk.",
	Write: func(ctx context.Context, j *Job, out string) error {
		m, err := j.machine("ova", diskFile(j.op.Name))
		if err != nil {
			return err
		}
		signer, err := j.signer()
		if err != nil {
			return err
		}
		return j.newFile(out, func(f *os.File) error {
			return ovf.WriteOVA(f, m, signer, func(_ int, w io.Writer) error {
				return j.streamOptimized(ctx, w, "ova", m.Disks[0].File)
			})
		})
	},
}

// diskFile is the file of the disk in the package of a name.
func diskFile(name string) string { return name + "-disk1.vmdk" }

var ovfFolder = Format{
	Name: "ovf", Describes: "ovf", Ext: "-ovf", From: FromDisk, RunsOn: &drivers.VMware, Streams: true,
	Doc: "What an OVA holds, as the files of a folder.",
	Write: func(ctx context.Context, j *Job, out string) error {
		m, err := j.machine("ovf", diskFile(j.op.Name))
		if err != nil {
			return err
		}
		if err := os.Mkdir(out, 0o755); err != nil {
			return err
		}
		return j.writeFolder(ctx, m, out)
	},
}

// writeFolder writes the package of m into the folder dir.
func (j *Job) writeFolder(ctx context.Context, m *ovf.Machine, dir string) error {
	signer, err := j.signer()
	if err != nil {
		return err
	}
	d := &m.Disks[0]
	sums := []ovf.Sum{{Name: j.op.Name + ".ovf"}, {Name: d.File}}
	h := ovf.NewDigest(m.Digest, nil).New()
	err = j.newFile(filepath.Join(dir, d.File), func(f *os.File) error {
		err := j.streamOptimized(ctx, io.MultiWriter(f, h), "ovf", d.File)
		if err != nil {
			return err
		}
		d.Size, err = f.Seek(0, io.SeekEnd)
		return err
	})
	if err != nil {
		return err
	}
	sums[1].Digest = ovf.NewDigest(m.Digest, h.Sum(nil))
	text, err := m.Encode()
	if err != nil {
		return err
	}
	h.Reset()
	h.Write(text)
	sums[0].Digest = ovf.NewDigest(m.Digest, h.Sum(nil))
	manifest := ovf.EncodeManifest(sums)
	if signer != nil {
		signature, err := signer.Sign(j.op.Name+".mf", manifest, m.Digest)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, j.op.Name+".cert"), signature, 0o644); err != nil {
			return err
		}
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, sums[0].Name), text, 0o644),
		os.WriteFile(filepath.Join(dir, j.op.Name+".mf"), manifest, 0o644))
}

// signer returns what signs packages, or nil where they are not signed.
func (j *Job) signer() (*ovf.Signer, error) {
	if j.op.Certificate == "" {
		return nil, nil
	}
	key, err := j.req.Secrets(j.op.SigningKey)
	if err != nil {
		return nil, err
	}
	s, err := ovf.NewSigner([]byte(j.op.Certificate), key)
	if err != nil {
		return nil, fmt.Errorf("sign the package: %w", err)
	}
	return s, nil
}

var vmxFolder = Format{
	Name: "vmx", Describes: "hardware", Ext: ".vmwarevm", From: FromDisk, RunsOn: &drivers.VMware, Tools: []Tool{qemuImg},
	Doc: "A machine of VMware Workstation, Fusion and Player: a folder with its VMX file and a growing disk.",
	Write: func(ctx context.Context, j *Job, out string) error {
		if err := os.Mkdir(out, 0o755); err != nil {
			return err
		}
		return j.writeVMX(ctx, "vmx", out, j.op.Name)
	},
}

// writeVMX writes the machine of a format, called name, into the folder dir.
func (j *Job) writeVMX(ctx context.Context, format, dir, name string) error {
	m, err := j.machine(format, name+".vmdk")
	if err != nil {
		return err
	}
	m.Name = j.op.Name
	text, err := vmx.Encode(m)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, name+".vmx"), text, 0o644); err != nil {
		return err
	}
	return j.writeSparseVMDK(ctx, format, filepath.Join(dir, name+".vmdk"))
}

// newFile has fill write the new file path.
func (j *Job) newFile(path string, fill func(f *os.File) error) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return fill(f)
}

// machine returns what the descriptor of a format says, with one disk in the file of
// that name.
func (j *Job) machine(format, file string) (*ovf.Machine, error) {
	m, err := j.op.machine(j.bootsByUEFI())
	if err != nil {
		return nil, err
	}
	id := j.Derive(format + " machine")
	m.UUID = vmdk.IdentityOf(id).UUID
	m.MAC = "080027" + hex.EncodeToString(id[:3]) // VirtualBox' own range
	m.Disks = []ovf.Disk{{File: file, Capacity: j.diskSize, UUID: vmdk.IdentityOf(j.Derive(format)).UUID}}
	return m, nil
}

// bootsByUEFI reports whether the disk boots by UEFI alone.
func (j *Job) bootsByUEFI() bool {
	if n := len(j.req.Layers); n > 0 && j.req.Layers[n-1].Boot != "" {
		return j.req.Layers[n-1].Boot == disk.BootUEFI
	}
	return bootMode(j.op.Boot, cmp.Or(j.req.Arch, "amd64")) == disk.BootUEFI
}

// machine returns the machine that the op describes, without what follows from its key.
func (o *Op) machine(uefi bool) (*ovf.Machine, error) {
	var h hardware.Options
	m := &ovf.Machine{Name: o.Name}
	for text, into := range map[*json.RawMessage]any{&o.Hardware: &h, &o.OVF: &m.Options} {
		if len(*text) > 0 {
			if err := json.Unmarshal(*text, into); err != nil {
				return nil, fmt.Errorf("decode hardware: %w", err)
			}
		}
	}
	m.Hardware = h.Described(uefi)
	return m, nil
}

// CheckHardware returns why the descriptor of one of the formats cannot say what the op
// says of the machine.
func (o *Op) CheckHardware() error {
	m, err := o.machine(o.Boot == disk.BootUEFI)
	if err != nil {
		return err
	}
	m.Disks = []ovf.Disk{{File: diskFile(o.Name)}}
	for _, f := range o.Formats {
		switch f {
		case ova.Name:
			_, err = m.Encode()
			if err == nil {
				_, err = ovf.TarHeader(m.Disks[0].File, 0)
			}
		case ovfFolder.Name:
			_, err = m.Encode()
		case boxVirtualBox.Name:
			m := *m
			m.Flavor = ovf.VirtualBox
			_, err = m.Encode()
		case vmxFolder.Name, boxVMware.Name:
			_, err = vmx.Encode(m)
		}
		if err != nil {
			return fmt.Errorf("the format %s: %w", f, err)
		}
	}
	return nil
}

// runsOn returns what a disk of the format is for: where the format says what the disk
// hangs on and which card there is, these are the usual ones.
func (o *Op) runsOn(f Format) drivers.Hypervisor {
	h := *f.RunsOn
	m, err := o.machine(false)
	if err != nil || f.Describes == "" || h.Name != drivers.VMware.Name && h.Name != drivers.VirtualBox.Name {
		return h
	}
	disks := map[string]string{
		"virtio": "virtio-scsi", "scsi": "LSI Logic SCSI", "lsilogic": "LSI Logic SCSI", "lsisas": "LSI Logic SAS",
		"pvscsi": "paravirtual SCSI", "sata": "SATA", "ide": "IDE", "nvme": "NVMe",
	}
	h.Disks = usualFirst(h.Disks, disks[m.Hardware.DiskBus])
	h.Cards = usualFirst(h.Cards, m.Hardware.NIC)
	return h
}

// usualFirst returns the devices with the one of that name before the others.
func usualFirst(list []drivers.Device, name string) []drivers.Device {
	first := slices.Clone(list)
	slices.SortStableFunc(first, func(a, b drivers.Device) int {
		switch {
		case a.Name == name && b.Name != name:
			return -1
		case b.Name == name && a.Name != name:
			return 1
		}
		return 0
	})
	return first
}
