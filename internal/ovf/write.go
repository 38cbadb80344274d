package ovf

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/lazyregexp"
)

var propertyKey = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

// Check finds what no descriptor can say.
func (o *Options) Check() error {
	for _, field := range []struct{ name, text string }{
		{"product", o.Product}, {"vendor", o.Vendor}, {"release", o.Release}, {"product_url", o.ProductURL},
		{"vendor_url", o.VendorURL}, {"annotation", o.Annotation}, {"eula", o.EULA},
	} {
		if err := checkText(field.text); err != nil {
			return fmt.Errorf("%s: %w", field.name, err)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(o.Properties)) {
		if !propertyKey.MatchString(key) {
			return fmt.Errorf("properties: %q: want letters, digits, \".\", \"-\" and \"_\"", key)
		}
		if err := checkText(o.Properties[key]); err != nil {
			return fmt.Errorf("properties: %s: %w", key, err)
		}
	}
	for _, t := range o.Transport {
		if t != "iso" && t != "com.vmware.guestInfo" {
			return fmt.Errorf("transport: %q is neither com.vmware.guestInfo nor iso", t)
		}
	}
	if len(o.Transport) > 0 && len(o.Properties) == 0 {
		return errors.New("transport: there are no properties to transport")
	}
	return nil
}

// checkText refuses characters that XML has no way to write.
func checkText(s string) error {
	if !utf8.ValidString(s) {
		return errors.New("is not UTF-8")
	}
	bad := func(r rune) bool { return r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0xfffe || r == 0xffff }
	if i := strings.IndexFunc(s, bad); i >= 0 {
		return fmt.Errorf("has the character %q, which XML does not", s[i])
	}
	return nil
}

// A descriptor is one that is being written.
type descriptor struct {
	xmlWriter
	m        *Machine
	o        hardware.Options
	guest    hardware.Guest
	flavor   string
	version  string
	instance int // of the last hardware item
}

// Encode returns the descriptor of m. Its length does not depend on the sizes of the
// members, so that room for it can be kept before the members are written.
func (m *Machine) Encode() ([]byte, error) {
	d := &descriptor{m: m, o: m.Hardware, flavor: cmp.Or(m.Flavor, Generic), version: cmp.Or(m.Version, "1.0")}
	var ok bool
	if d.guest, ok = hardware.GuestNamed(d.o.GuestOS); !ok {
		return nil, fmt.Errorf("guest_os: %q is not a name that bake knows", d.o.GuestOS)
	}
	if _, _, err := d.bus(); err != nil {
		return nil, err
	}
	if _, err := d.card(); err != nil {
		return nil, err
	}
	d.raw(`<?xml version="1.0" encoding="UTF-8"?>` + "\n")
	d.envelope()
	return d.bytes(), nil
}

func (d *descriptor) envelope() {
	ns := nsOVF1
	if d.version == "2.0" {
		ns = nsOVF2
	}
	names := []string{"xmlns", ns, "xmlns:ovf", ns, "xmlns:rasd", nsRASD, "xmlns:vssd", nsVSSD, "xmlns:xsi", nsXSI}
	if d.version == "2.0" {
		names = append(names, "xmlns:sasd", nsSASD, "xmlns:epasd", nsEASD)
	}
	if d.flavor != VirtualBox {
		names = append(names, "xmlns:vmw", nsVMW)
	}
	if d.flavor != VMware {
		names = append(names, "xmlns:vbox", nsVBox)
	}
	if d.flavor == VirtualBox { // which reads the version here, and not by the namespace
		names = append([]string{"ovf:version", d.version, "xml:lang", "en-US"}, names...)
	}
	d.open("Envelope", names...)
	d.references()
	d.open("NetworkSection")
	d.text("Info", "List of the networks of the package")
	d.open("Network", "ovf:name", d.o.Network)
	d.text("Description", "The network of the machine")
	d.close()
	d.close()
	d.system()
	d.close()
}

func (d *descriptor) references() {
	d.open("References")
	for i, disk := range d.m.Disks {
		if disk.File != "" {
			// The size is last, and what it leaves of its room is blanks.
			file := `<File ovf:href="` + escape(disk.File) + `" ovf:id="` + fileID(i) + `"`
			if size := strconv.FormatInt(disk.Size, 10); disk.Size >= 0 {
				file += ` ovf:size="` + size + `"` + strings.Repeat(" ", 20-len(size))
			}
			d.line(file + "/>")
		}
	}
	d.close()
	d.open("DiskSection")
	d.text("Info", "List of the virtual disks")
	for i, disk := range d.m.Disks {
		attrs := []string{"ovf:capacity", strconv.FormatInt(disk.Capacity, 10), "ovf:capacityAllocationUnits", "byte", "ovf:diskId", diskID(i)}
		if disk.File != "" {
			attrs = append(attrs, "ovf:fileRef", fileID(i))
		}
		attrs = append(attrs, "ovf:format", "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized")
		if disk.UUID != "" && d.flavor != VMware {
			attrs = append(attrs, "vbox:uuid", disk.UUID)
		}
		d.empty("Disk", attrs...)
	}
	d.close()
}

func fileID(i int) string { return fmt.Sprintf("file%d", i+1) }
func diskID(i int) string { return fmt.Sprintf("vmdisk%d", i+1) }

func (d *descriptor) system() {
	d.open("VirtualSystem", "ovf:id", d.m.Name)
	d.text("Info", "A virtual machine")
	d.text("Name", d.m.Name)
	d.product()
	if d.m.Annotation != "" {
		d.open("AnnotationSection")
		d.text("Info", "A note for who deploys the machine")
		d.text("Annotation", d.m.Annotation)
		d.close()
	}
	if d.m.EULA != "" {
		d.open("EulaSection")
		d.text("Info", "The license of the machine")
		d.text("License", d.m.EULA)
		d.close()
	}
	attrs := []string{"ovf:id", strconv.Itoa(d.guest.OVF)}
	if d.flavor != VirtualBox {
		attrs = append(attrs, "vmw:osType", d.guest.VMware)
	}
	d.open("OperatingSystemSection", attrs...)
	d.text("Info", "The guest operating system")
	if d.flavor == VMware {
		d.text("Description", d.guest.Name)
	} else {
		d.text("Description", d.guest.VirtualBox)
		d.text("vbox:OSType", d.guest.VirtualBox, "ovf:required", "false")
	}
	d.close()
	d.hardware()
	if d.flavor == VirtualBox {
		d.vboxMachine()
	}
	d.close()
}

func (d *descriptor) product() {
	o := d.m.Options
	if o.Product+o.Vendor+o.Release+o.ProductURL+o.VendorURL == "" && len(o.Properties) == 0 {
		return
	}
	d.open("ProductSection")
	d.text("Info", "The product in the machine")
	for _, e := range [][2]string{{"Product", o.Product}, {"Vendor", o.Vendor}, {"Version", o.Release}, {"ProductUrl", o.ProductURL}, {"VendorUrl", o.VendorURL}} {
		if e[1] != "" {
			d.text(e[0], e[1])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(o.Properties)) {
		d.open("Property", "ovf:key", key, "ovf:type", "string", "ovf:userConfigurable", "true", "ovf:value", o.Properties[key])
		d.text("Label", key)
		d.close()
	}
	d.close()
}
