package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/ovf"
	"bake.build/bake/runtime/disk/drivers"
)

// Boxes of Vagrant: an archive with metadata.json, a Vagrantfile and what the provider
// imports. It is not compressed as a whole: the disk in it is.

var boxVirtualBox = Format{
	Name: "vagrant-virtualbox", Describes: "ovf", Ext: "-virtualbox.box", From: FromDisk, RunsOn: &drivers.VirtualBox, Streams: true,
	Doc: "A box for Vagrant's provider virtualbox.",
	Write: func(ctx context.Context, j *Job, out string) error {
		m, err := j.machine("vagrant-virtualbox", "box-disk001.vmdk")
		if err != nil {
			return err
		}
		m.Version, m.Flavor, m.EULA = "1.0", ovf.VirtualBox, "" // a license would have to be accepted at each start
		return j.writeBox(out, "virtualbox", nil, fmt.Sprintf("  config.vm.base_mac = %q\n", strings.ToUpper(m.MAC)), func(a *ovf.Archive) error {
			m.Disks[0].Size, err = a.Stream(m.Disks[0].File, func(w io.Writer) error {
				return j.streamOptimized(ctx, w, "vagrant-virtualbox", m.Disks[0].File)
			})
			if err != nil {
				return err
			}
			text, err := m.Encode()
			if err != nil {
				return err
			}
			return a.Add("box.ovf", text)
		})
	},
}

var boxLibvirt = Format{
	Name: "vagrant-libvirt", Describes: "hardware", Ext: "-libvirt.box", From: FromDisk, RunsOn: &drivers.KVM, Tools: []Tool{qemuImg},
	Doc: "A box for Vagrant's provider libvirt.",
	Write: func(ctx context.Context, j *Job, out string) error {
		m, err := j.op.machine(j.bootsByUEFI())
		if err != nil {
			return err
		}
		gib := (j.diskSize + 1<<30 - 1) >> 30
		more := map[string]any{"format": "qcow2", "virtual_size": gib}
		return j.writeBox(out, "libvirt", more, libvirtSettings(j.op, m.Hardware), func(a *ovf.Archive) error {
			// Other readers than QEMU's newest take zlib.
			return j.scratchMember(a, out, "box.img", func(path string) error {
				return convert(ctx, j, path, "qcow2", "-c", "-o", "compression_type=zlib")
			})
		})
	},
}

// libvirtSettings returns what a Vagrantfile says to the provider libvirt: what the
// definition says of the hardware, and the firmware.
func libvirtSettings(op *Op, h hardware.Options) string {
	var said hardware.Options
	if len(op.Hardware) > 0 && json.Unmarshal(op.Hardware, &said) != nil {
		return ""
	}
	var b strings.Builder
	b.WriteString("  config.vm.provider :libvirt do |libvirt|\n")
	memory, _ := h.MemorySize()
	fmt.Fprintf(&b, "    libvirt.cpus = %d\n    libvirt.memory = %d\n", h.CPUs, memory>>20)
	bus := map[string]string{"sata": "sata", "ide": "ide", "scsi": "scsi", "virtio": "virtio", "nvme": "nvme"}[said.DiskBus]
	if bus != "" {
		fmt.Fprintf(&b, "    libvirt.disk_bus = %q\n", bus)
	}
	if said.NIC != "" {
		fmt.Fprintf(&b, "    libvirt.nic_model_type = %q\n", said.NIC)
	}
	if h.UEFI() {
		b.WriteString("    libvirt.loader = \"/usr/share/OVMF/OVMF_CODE.fd\"\n")
	}
	b.WriteString("  end\n")
	return b.String()
}

var boxVMware = Format{
	Name: "vagrant-vmware", Describes: "hardware", Ext: "-vmware.box", From: FromDisk, RunsOn: &drivers.VMware, Tools: []Tool{qemuImg},
	Doc: "A box for Vagrant's provider vmware_desktop.",
	Write: func(ctx context.Context, j *Job, out string) error {
		return j.writeBox(out, "vmware_desktop", nil, "", func(a *ovf.Archive) error {
			return j.scratch(out, func(dir string) error {
				if err := j.writeVMX(ctx, "vagrant-vmware", dir, "box"); err != nil {
					return err
				}
				return errors.Join(addMember(a, filepath.Join(dir, "box.vmx"), "box.vmx"), addMember(a, filepath.Join(dir, "box.vmdk"), "box.vmdk"))
			})
		})
	},
}

var boxHyperV = Format{
	Name: "vagrant-hyperv", Describes: "hardware", Ext: "-hyperv.box", From: FromDisk, RunsOn: &drivers.HyperV, Tools: []Tool{qemuImg},
	Doc: "A box for Vagrant's provider hyperv.",
	Write: func(ctx context.Context, j *Job, out string) error {
		m, err := j.op.machine(j.bootsByUEFI())
		if err != nil {
			return err
		}
		return j.writeBox(out, "hyperv", nil, "", func(a *ovf.Archive) error {
			if err := a.Add("Virtual Machines/box.xml", hypervConfig(j.op.Name, m.Hardware)); err != nil {
				return err
			}
			return j.scratchMember(a, out, "Virtual Hard Disks/box.vhdx", func(path string) error { return j.writeVHDX(ctx, "vagrant-hyperv", path) })
		})
	},
}

// writeBox writes a box: what all have, and what fill adds.
func (j *Job) writeBox(out, provider string, more map[string]any, settings string, fill func(a *ovf.Archive) error) error {
	arch := j.req.Arch
	if arch == "" {
		arch = runtime.GOARCH
	}
	metadata := map[string]any{"provider": provider, "architecture": arch}
	for k, v := range more {
		metadata[k] = v
	}
	text, err := json.MarshalIndent(metadata, "", "  ")
	if err != nil {
		return err
	}
	vagrantfile := "Vagrant.configure(\"2\") do |config|\n" + settings + "end\n"
	return j.newFile(out, func(f *os.File) error {
		a := ovf.NewArchive(f)
		return errors.Join(a.Add("metadata.json", append(text, '\n')), a.Add("Vagrantfile", []byte(vagrantfile)), fill(a), a.Close())
	})
}

// scratch lends use a folder beside out.
func (j *Job) scratch(out string, use func(dir string) error) (err error) {
	dir := out + ".parts"
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return use(dir)
}

// scratchMember adds a member that make writes as a file first.
func (j *Job) scratchMember(a *ovf.Archive, out, name string, make func(path string) error) error {
	return j.scratch(out, func(dir string) error {
		path := filepath.Join(dir, "disk")
		if err := make(path); err != nil {
			return err
		}
		return addMember(a, path, name)
	})
}

// addMember adds the file at path.
func addMember(a *ovf.Archive, path, name string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = a.Stream(name, func(w io.Writer) error {
		_, err := io.Copy(w, f)
		return err
	})
	return err
}
