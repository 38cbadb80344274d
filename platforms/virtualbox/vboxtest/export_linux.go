package vboxtest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/ovf"
	"bake.build/bake/internal/testqemu"
)

// export writes a machine as an OVF package. The descriptor is that of bake's own writer,
// without VirtualBox' section of the machine.
func (c *call) export() error {
	args := slices.Clone(c.args[1:])
	for i, a := range args {
		if a == "-o" {
			args[i] = "--output"
		}
	}
	pos, opts := split(args, map[string]int{"output": 1, "options": 1, "vsys": 1, "product": 1, "producturl": 1, "vendor": 1, "vendorurl": 1, "version": 1, "description": 1, "eula": 1, "eulafile": 1, "vmname": 1})
	if len(pos) != 1 || !opts.has("output") {
		return usage("Missing --output option\n", "Export one or more virtual machines to a virtual appliance or to a cloud service", 2)
	}
	m, err := c.find(pos[0], where{"FindMachine(Bstr(strMachine).raw(), machine.asOutParam())", 1762, "VBoxManageAppliance"})
	if err != nil {
		return err
	}
	out, err := filepath.Abs(opts.or("output", ""))
	if err != nil {
		return err
	}
	at := where{"RTEXITCODE handleExportAppliance(HandlerArg*)", 2000, "VBoxManageAppliance"}
	ext := strings.ToLower(filepath.Ext(out))
	if ext != ".ova" && ext != ".ovf" {
		return fail("VBOX_E_FILE_ERROR", "ApplianceWrap/IAppliance", "Appliance file must have .ovf or .ova extension",
			where{"Write(Bstr(strOvfFormat).raw(), ComSafeArrayAsInParam(options), Bstr(pszAbsFilePath).raw(), progress.asOutParam())", 1993, "VBoxManageAppliance"})
	}
	if _, err := os.Stat(filepath.Dir(out)); err != nil {
		return failTask("0%...", "VBOX_E_OBJECT_NOT_FOUND", "ApplianceWrap/IAppliance", "Appliance write failed", fmt.Sprintf("Failed to open directory '%s' (VERR_FILE_NOT_FOUND)", filepath.Dir(out)), at)
	}
	if _, err := os.Stat(out); err == nil {
		return failTask("0%...", "VBOX_E_IPRT_ERROR", "ApplianceWrap/IAppliance", "Appliance write failed", fmt.Sprintf("Failed to open '%s' for writing (VERR_ALREADY_EXISTS)", out), at)
	}
	if err := c.write(m, out, opts); err != nil {
		return err
	}
	c.progress()
	c.print("Successfully exported 1 machine(s).\n")
	return nil
}

// write writes the package: its disks are compressed first, beside it.
func (c *call) write(m *machine, out string, opts options) (err error) {
	name := strings.TrimSuffix(filepath.Base(out), filepath.Ext(out))
	s := c.described(m, opts)
	var disks []string
	for _, ctl := range m.Controllers {
		for _, at := range slices.Sorted(mapsKeys(ctl.Slots)) {
			d := c.medium(ctl.Slots[at].Medium)
			if d == nil || d.DVD {
				continue
			}
			s.Hardware.DiskBus = map[string]string{"sata": "sata", "ide": "ide"}[ctl.Bus]
			if s.Hardware.DiskBus == "" {
				s.Hardware.DiskBus = "lsilogic"
			}
			file := fmt.Sprintf("%s-disk%03d.vmdk", name, len(disks)+1)
			path, raw := filepath.Join(filepath.Dir(out), file), filepath.Join(c.dir, "export.raw")
			if err := c.flatten(d, raw); err != nil {
				return err
			}
			if _, err := testqemu.Img("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, path); err != nil {
				return err
			}
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			s.Disks = append(s.Disks, ovf.Disk{File: file, Size: info.Size(), Capacity: d.Capacity, UUID: d.UUID})
			if disks = append(disks, path); os.Remove(raw) != nil {
				return errors.New("the copy of a disk cannot be removed")
			}
		}
	}
	s.Hardware = s.Hardware.Described(false)
	text, err := s.Encode()
	if err != nil {
		return err
	}
	if filepath.Ext(out) == ".ovf" {
		return os.WriteFile(out, text, 0o600)
	}
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	o := ovf.NewArchive(f)
	if err := o.Add(name+".ovf", text); err != nil {
		return err
	}
	for i, path := range disks {
		if _, err := o.Stream(s.Disks[i].File, func(w io.Writer) error { return pour(w, path) }); err != nil {
			return err
		}
	}
	return o.Close()
}

// pour writes a file to w and removes it.
func pour(w io.Writer, path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, in)
	return errors.Join(err, in.Close(), os.Remove(path))
}

// described is the machine as a descriptor has it, without its disks.
func (c *call) described(m *machine, opts options) *ovf.Machine {
	v := m.Values
	s := &ovf.Machine{Name: opts.or("vmname", m.Name), UUID: m.UUID, MAC: v["macaddress1"]}
	s.Hardware.Memory, s.Hardware.GuestOS = or(v["memory"], "128")+"M", hardware.GuestOf("", v["ostype"], 0).Name
	if _, err := fmt.Sscan(or(v["cpus"], "1"), &s.Hardware.CPUs); err != nil {
		s.Hardware.CPUs = 1
	}
	if strings.HasPrefix(v["firmware"], "EFI") {
		s.Hardware.Firmware = "uefi"
	}
	if v["nictype1"] == "virtio" {
		s.Hardware.NIC = "virtio"
	}
	s.Flavor, s.Digest, s.Version = ovf.VirtualBox, "sha1", "1.0"
	if opts.has("ovf20") {
		s.Digest, s.Version = "sha256", "2.0"
	}
	s.Product, s.ProductURL, s.Vendor, s.VendorURL = opts.or("product", ""), opts.or("producturl", ""), opts.or("vendor", ""), opts.or("vendorurl", "")
	s.Release, s.Annotation, s.EULA = opts.or("version", ""), opts.or("description", v["description"]), opts.or("eula", "")
	return s
}
