package ovf

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/platforms"
)

// An Envelope is what a descriptor says.
type Envelope struct {
	Files    []File
	Systems  []Machine
	Networks []string // names
	VMware   bool     // the hardware is of a family of VMware's
}

// A File is a member that a descriptor names.
type File struct {
	ID, Name    string
	Size        int64 // 0 where it is not said
	Compression string
	ChunkSize   int64 // 0 means that the file is in one piece
}

// File returns the file of a name.
func (e *Envelope) File(name string) (File, bool) {
	i := slices.IndexFunc(e.Files, func(f File) bool { return f.Name == name })
	if i < 0 {
		return File{}, false
	}
	return e.Files[i], true
}

// Machine returns the one machine that the envelope describes.
func (e *Envelope) Machine() (*Machine, error) {
	if len(e.Systems) == 1 {
		return &e.Systems[0], nil
	}
	var names []string
	for _, m := range e.Systems {
		names = append(names, strconv.Quote(m.Name))
	}
	return nil, fmt.Errorf("the descriptor has %d machines, %s: want one", len(e.Systems), strings.Join(names, ", "))
}

// decodeNames replaces the names of files that are written as in URLs, with %20 for a
// blank, by those of the members that has knows.
func (e *Envelope) decodeNames(has func(name string) bool) {
	for i, f := range e.Files {
		decoded, err := url.PathUnescape(f.Name)
		if err != nil || has(f.Name) || f.ChunkSize != 0 {
			continue
		}
		if decoded, err = memberName(decoded); err != nil || !has(decoded) {
			continue
		}
		e.Files[i].Name = decoded
		for _, m := range e.Systems {
			for n := range m.Disks {
				if m.Disks[n].File == f.Name {
					m.Disks[n].File = decoded
				}
			}
		}
	}
}

// memberName checks the name of a member and returns it without a leading "./". A name
// that leads out of the package is an error.
func memberName(name string) (string, error) {
	clean := path.Clean(name)
	switch {
	case name == "" || clean == "." || strings.HasSuffix(name, "/"):
		return "", fmt.Errorf("%q is not the name of a file", name)
	case strings.Contains(name, "://"):
		return "", fmt.Errorf("the file %q is elsewhere: bake reads packages that are whole", name)
	case path.IsAbs(name) || clean == ".." || strings.HasPrefix(clean, "../") || strings.ContainsAny(name, "\\\x00") || len(name) > 1 && name[1] == ':':
		return "", fmt.Errorf("the file %q is outside of the package", name)
	}
	return clean, nil
}

// Parse reads a descriptor. It fails where a disk cannot be found by what is said of it.
func Parse(text []byte) (*Envelope, error) {
	root, err := parseXML(text)
	if err != nil {
		return nil, err
	}
	if root.name != "Envelope" {
		return nil, fmt.Errorf("the descriptor is a %s, and not an Envelope of OVF", root.name)
	}
	r := reader{files: map[string]File{}, disks: map[string]Disk{}}
	if err := r.references(root); err != nil {
		return nil, err
	}
	r.configuration = defaultConfiguration(root)
	e := &Envelope{Files: r.list}
	for _, n := range root.first("NetworkSection").all("Network") {
		e.Networks = append(e.Networks, n.attr("name"))
	}
	for _, s := range systems(root, 0) {
		for _, h := range s.all("VirtualHardwareSection") {
			e.VMware = e.VMware || strings.Contains(h.first("System").value("VirtualSystemType"), "vmx-")
		}
		m, err := r.system(s)
		if err != nil {
			return nil, err
		}
		e.Systems = append(e.Systems, *m)
	}
	if len(e.Systems) == 0 {
		return nil, errors.New("the envelope is empty: it describes no machine")
	}
	return e, nil
}

// systems returns the virtual systems below e, also those in collections.
func systems(e *element, depth int) []*element {
	list := e.all("VirtualSystem")
	for _, c := range e.all("VirtualSystemCollection") {
		list = append(list, systems(c, depth+1)...)
	}
	return list
}

// defaultConfiguration returns the ID of the deployment option that holds where none is
// chosen.
func defaultConfiguration(root *element) string {
	options := root.first("DeploymentOptionSection").all("Configuration")
	for _, c := range options {
		if c.attr("default") == "true" || c.attr("default") == "1" {
			return c.attr("id")
		}
	}
	if len(options) > 0 {
		return options[0].attr("id")
	}
	return ""
}

// A reader is one reading of a descriptor.
type reader struct {
	list          []File
	files         map[string]File // by ID
	disks         map[string]Disk // by ID
	configuration string
}

func at(e *element, format string, args ...any) error {
	return fmt.Errorf("line %d of the descriptor: %w", e.line, fmt.Errorf(format, args...))
}

func (r *reader) references(root *element) error {
	for _, e := range root.first("References").all("File") {
		name, err := memberName(e.attr("href"))
		if err != nil {
			return at(e, "%w", err)
		}
		f := File{ID: e.attr("id"), Name: name, Compression: e.attr("compression")}
		for field, value := range map[*int64]string{&f.Size: e.attr("size"), &f.ChunkSize: e.attr("chunkSize")} {
			if value == "" {
				continue
			}
			if *field, err = strconv.ParseInt(value, 10, 64); err != nil || *field < 0 {
				return at(e, "%q is not a size", value)
			}
		}
		if c := f.Compression; c != "" && c != "gzip" && c != "identity" {
			return at(e, "the file %s is compressed with %q, which bake does not read: want gzip", f.Name, c)
		}
		if _, twice := r.files[f.ID]; twice {
			return at(e, "there is another file with the ID %q", f.ID)
		}
		r.files[f.ID] = f
		r.list = append(r.list, f)
	}
	for _, e := range root.first("DiskSection").all("Disk") {
		if err := r.disk(e); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) disk(e *element) error {
	d := Disk{UUID: e.attr("uuid")}
	if e.attr("parentRef") != "" {
		return at(e, "the disk %q is the difference to another one: bake reads disks that are whole", e.attr("diskId"))
	}
	if ref := e.attr("fileRef"); ref != "" {
		f, ok := r.files[ref]
		if !ok {
			return at(e, "the disk %q is in the file %q, which References does not have", e.attr("diskId"), ref)
		}
		d.File, d.Size = f.Name, f.Size
	}
	n, err := quantity(e.attr("capacity"), cmp.Or(e.attr("capacityAllocationUnits"), "byte"))
	if err != nil {
		return at(e, "the disk %q: capacity: %w", e.attr("diskId"), err)
	}
	d.Capacity = n
	id := e.attr("diskId")
	if _, twice := r.disks[id]; twice || id == "" {
		return at(e, "the disk has no ID of its own")
	}
	r.disks[id] = d
	return nil
}

func (r *reader) system(e *element) (*Machine, error) {
	m := &Machine{Name: cmp.Or(e.value("Name"), e.attr("id"))}
	m.Hardware.Firmware = "bios"
	sections := e.all("VirtualHardwareSection")
	if len(sections) == 0 {
		return nil, at(e, "the machine %q has no hardware", m.Name)
	}
	var vbox *element
	for _, c := range e.children {
		if c.space == nsVBox && c.name == "Machine" {
			vbox = c
		}
	}
	if s := e.first("OperatingSystemSection"); s != nil {
		number, _ := strconv.Atoi(s.attr("id")) // what is not a number is no guest of the table
		m.Hardware.GuestOS = hardware.GuestOf(s.attr("osType"), s.value("OSType"), number).Name
	}
	product := e.first("ProductSection")
	m.Product, m.Vendor, m.Release = product.value("Product"), product.value("Vendor"), product.value("Version")
	m.ProductURL, m.VendorURL = product.value("ProductUrl"), product.value("VendorUrl")
	m.Annotation = e.first("AnnotationSection").value("Annotation")
	m.EULA = e.first("EulaSection").value("License")
	for _, p := range product.all("Property") {
		if m.Properties == nil {
			m.Properties = map[string]string{}
		}
		m.Properties[p.attr("key")] = p.attr("value")
	}
	if len(m.Properties) > 0 {
		m.Transport = strings.Fields(sections[0].attr("transport"))
	}
	if err := r.hardware(m, sections[0]); err != nil {
		return nil, err
	}
	m.vboxSettings(vbox)
	return m, nil
}

// vboxSettings takes over what VirtualBox's own section says and the standard cannot.
func (m *Machine) vboxSettings(e *element) {
	if e == nil {
		return
	}
	m.UUID = strings.Trim(e.attr("uuid"), "{}")
	h := e.first("Hardware")
	if f := h.first("Firmware"); f != nil && strings.HasPrefix(f.attr("type"), "EFI") {
		m.Hardware.Firmware = "uefi"
	}
	if t := h.first("TrustedPlatformModule"); t != nil && t.attr("type") != "" && t.attr("type") != "None" {
		m.Hardware.TPM = true
	}
	for _, p := range h.first("UART").all("Port") {
		m.Hardware.Serial = m.Hardware.Serial || p.attr("enabled") == "true"
	}
	for _, a := range h.first("Network").all("Adapter") {
		if a.attr("slot") == "0" {
			m.MAC = a.attr("MACAddress")
		}
	}
}

// hardware reads the items of a section.
func (r *reader) hardware(m *Machine, section *element) error {
	o := &m.Hardware
	controllers := map[string]controller{} // by instance
	var disks []*element
	for _, e := range section.children {
		if !isItem(e) || !r.holds(e) {
			continue
		}
		kind, err := strconv.Atoi(e.value("ResourceType"))
		if err != nil {
			return at(e, "the item %q has no kind", e.value("ElementName"))
		}
		subtype, instance := e.value("ResourceSubType"), cmp.Or(e.value("InstanceID"), e.value("InstanceId"))
		switch kind {
		case itemCPU:
			if o.CPUs, err = strconv.Atoi(e.value("VirtualQuantity")); err != nil || o.CPUs < 1 || o.CPUs > hardware.MostCPUs {
				return at(e, "the number of CPUs, %q, makes no sense", e.value("VirtualQuantity"))
			}
		case itemMemory:
			n, err := quantity(e.value("VirtualQuantity"), cmp.Or(e.value("AllocationUnits"), "MegaBytes"))
			if err != nil {
				return at(e, "memory: %w", err)
			}
			if n < 1 || n > hardware.MostMemory {
				return at(e, "the memory, %q, makes no sense", e.value("VirtualQuantity"))
			}
			o.Memory = platforms.FormatSize(n)
		case itemIDE, itemSCSI, itemStorage:
			controllers[instance] = controller{busOf(kind, subtype), len(controllers)}
		case itemDisk:
			disks = append(disks, e)
		case itemEthernet:
			if o.NIC == "" {
				o.NIC, o.Network = cmp.Or(cardOf(subtype), "e1000"), e.value("Connection")
			}
		case itemSerial:
			o.Serial = true
		case itemOther:
			o.TPM = o.TPM || subtype == "vmware.vtpm"
		}
	}
	place := func(e *element) (controller, unit int) {
		unit, _ = strconv.Atoi(e.value("AddressOnParent")) // what is not said is 0
		return controllers[e.value("Parent")].place, unit
	}
	slices.SortStableFunc(disks, func(a, b *element) int {
		ca, ua := place(a)
		cb, ub := place(b)
		return cmp.Or(cmp.Compare(ca, cb), cmp.Compare(ua, ub))
	})
	for _, e := range disks {
		if err := r.attach(m, e, controllers); err != nil {
			return err
		}
	}
	r.extensions(o, section)
	return nil
}

// A controller is what disks hang on.
type controller struct {
	bus   string // "" for one that bake does not know
	place int    // among those of the descriptor
}

func isItem(e *element) bool {
	return e.name == "Item" || e.name == "StorageItem" || e.name == "EthernetPortItem"
}

// holds reports whether an item is one of the machine as it is deployed by default: not
// a bound, and not of another configuration.
func (r *reader) holds(e *element) bool {
	if e.attr("bound") != "" && e.attr("bound") != "normal" {
		return false
	}
	configurations := strings.Fields(e.attr("configuration"))
	return len(configurations) == 0 || slices.Contains(configurations, r.configuration)
}

// attach adds the disk of an item.
func (r *reader) attach(m *Machine, e *element, controllers map[string]controller) error {
	disk, err := r.diskOf(e)
	if err != nil {
		return err
	}
	if disk.File != "" && slices.ContainsFunc(m.Disks, func(d Disk) bool { return d.File == disk.File }) {
		return at(e, "the disk in %s is attached twice", disk.File)
	}
	if m.Disks = append(m.Disks, disk); len(m.Disks) > hardware.MostDisks {
		return at(e, "the machine has more than %d disks", hardware.MostDisks)
	}
	if len(m.Disks) > 1 {
		return nil
	}
	parent := e.value("Parent")
	c, ok := controllers[parent]
	switch {
	case !ok && parent == "":
		m.Hardware.DiskBus = "ide" // nothing is said
	case !ok:
		return at(e, "the disk %q hangs on the controller %q, which is not there", e.value("ElementName"), parent)
	case c.bus == "":
		return at(e, "the disk %q hangs on a controller of a kind that bake does not know", e.value("ElementName"))
	default:
		m.Hardware.DiskBus = c.bus
	}
	return nil
}

// diskOf returns the disk of an item: the one of the DiskSection that it names, or an
// empty one of the item's own.
func (r *reader) diskOf(e *element) (Disk, error) {
	host := e.value("HostResource")
	id := host
	for _, prefix := range []string{"ovf://disk/", "ovf:/disk/", "/disk/"} {
		if after, ok := strings.CutPrefix(host, prefix); ok {
			id = after
			break
		}
	}
	if strings.HasPrefix(id, "ovf:/file/") {
		return Disk{}, at(e, "the disk %q is a bare file: bake reads those of the DiskSection", id)
	}
	disk, ok := r.disks[id]
	if !ok && host != "" {
		return Disk{}, at(e, "the disk %q is not in the DiskSection", host)
	}
	if host == "" {
		n, err := quantity(e.value("VirtualQuantity"), cmp.Or(e.value("VirtualQuantityUnits"), e.value("AllocationUnits"), "byte"))
		if err != nil {
			return Disk{}, at(e, "the disk %q: %w", e.value("ElementName"), err)
		}
		disk.Capacity = n
	}
	if disk.File == "" && disk.Capacity == 0 {
		return Disk{}, at(e, "the disk %q has neither a file nor a capacity that is a number", e.value("ElementName"))
	}
	return disk, nil
}

// extensions reads VMware's settings of a section.
func (r *reader) extensions(o *hardware.Options, section *element) {
	for _, e := range section.children {
		if e.name != "Config" && e.name != "ExtraConfig" || !r.holds(e) {
			continue
		}
		value := strings.ToLower(e.attr("value"))
		switch e.attr("key") {
		case "firmware":
			if value == "efi" || value == "uefi" {
				o.Firmware = "uefi"
			}
		case "bootOptions.efiSecureBootEnabled", "uefi.secureBoot.enabled":
			o.SecureBoot = value == "true"
		}
	}
	if o.Firmware != "uefi" {
		o.SecureBoot = false
	}
	family := section.first("System").value("VirtualSystemType")
	for name := range strings.FieldsFuncSeq(family, func(r rune) bool { return r == ' ' || r == ',' }) {
		if n, err := strconv.Atoi(strings.TrimPrefix(name, "vmx-")); err == nil && strings.HasPrefix(name, "vmx-") {
			o.HardwareVersion = max(o.HardwareVersion, n)
		}
	}
}
