package vsphere

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/ovf"
	"bake.build/bake/internal/vmdk"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/installer"
	"bake.build/bake/platforms/platformtest"
)

// onDatastore are options with which machines can be made that have no origin there.
func onDatastore(change ...func(*Options)) func(*Options) {
	return launching(func(o *Options) {
		o.Datastore, o.Network = "LocalDS_0", "VM Network"
		for _, f := range change {
			f(o)
		}
	})
}

// ova writes an OVA of a machine with a disk of 8 MiB.
func (w *world) ova(change func(m *ovf.Machine)) (path string) {
	w.Helper()
	disk := w.disk()
	m := &ovf.Machine{
		Name: "appliance", Hardware: (hardware.Options{DiskBus: "pvscsi", NIC: "vmxnet3", Network: "lan", GuestOS: "debian12", CPUs: 3, Memory: "512M"}).Described(false),
		Disks: []ovf.Disk{{File: "appliance-disk1.vmdk", Size: -1, Capacity: 8 << 20}}, Options: ovf.Options{Flavor: ovf.VMware},
	}
	if change != nil {
		change(m)
	}
	path = filepath.Join(w.TempDir(), "appliance.ova")
	f, err := os.Create(path)
	if err != nil {
		w.Fatal(err)
	}
	defer f.Close()
	err = ovf.WriteOVA(f, m, nil, func(i int, out io.Writer) error {
		return vmdk.WriteStream(w.Context(), out, m.Disks[i].File, disk, 8<<20, vmdk.IdentityOf([32]byte{1}), func(int64) {})
	})
	if err != nil {
		w.Fatal(err)
	}
	return path
}

// origin is one of the kind whose file is at path.
func origin(kind, path string, or Origin) platforms.Origin {
	text, err := json.Marshal(or)
	if err != nil {
		panic(err) // strings
	}
	o := platforms.Origin{Kind: kind, Options: text}
	if path != "" {
		o.Paths = map[string]string{kind: path}
	}
	return o
}

// TestOVA imports an OVA as a first layer, which another host finds, boots and can make
// again when somebody has removed it.
func TestOVA(t *testing.T) {
	w, _ := newFleet(t)
	bodies := w.received()
	d := w.open(onDatastore())
	path := w.ova(nil)
	o := origin("ova", path, Origin{})
	if !d.KeepsOrigin(o.Kind) || d.KeepsOrigin("template") {
		t.Error("what is kept by the platform")
	}
	if traits, err := d.Describe(t.Context(), o); err != nil || traits != (platforms.Traits{Arch: "amd64", Boot: "bios"}) {
		t.Errorf("described as %+v: %v", traits, err)
	}
	pinned, err := d.Pin(t.Context(), o)
	if err != nil || pinned.Pin != nil {
		t.Errorf("pinned to %+v: %v", pinned.Pin, err)
	}
	state := platforms.State{Key: key("ova"), Name: "ova", Needed: true}
	made, err := d.ImportRemote(t.Context(), o, state, &platformtest.Log{})
	if err != nil || made.Traits != (platforms.Traits{Arch: "amd64", Boot: "bios"}) {
		t.Fatalf("made %+v: %v", made, err)
	}
	if n := len(w.host.Left()); n != 0 {
		t.Errorf("in the ledger: %+v", w.host.Left())
	}
	if list := bodies(); len(list) != 1 {
		t.Fatalf("%d uploads", len(list))
	}
	sameDisk(t, w.disk(), bodies()[0])

	other := w.open(onDatastore())
	found, err := other.FindLayers(t.Context(), []string{state.Key})
	if err != nil || found[state.Key].Ref != made.Ref {
		t.Fatalf("another host finds %+v: %v", found, err)
	}
	m := w.boot(other, made.Ref)
	if h := w.vm(m.name).Config.Hardware; h.NumCPU != 3 || h.MemoryMB != 512 || m.depth != 2 {
		t.Errorf("the machine has %d CPUs and %d MiB, on %d disks", h.NumCPU, h.MemoryMB, m.depth)
	}
	w.sh(m, "test -s /root/.ssh/authorized_keys")
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}

	// Somebody removes it.
	b, err := d.base(t.Context(), made.Ref)
	if err == nil {
		err = d.destroy(t.Context(), b.vm)
	}
	if err != nil {
		t.Fatal(err)
	}
	if found, err := other.FindLayers(t.Context(), []string{state.Key}); err != nil || len(found) != 0 {
		t.Errorf("what is removed is found: %v, %v", found, err)
	}
	if again, err := other.ImportRemote(t.Context(), o, state, &platformtest.Log{}); err != nil || again.Ref == made.Ref {
		t.Errorf("made again: %+v, %v", again, err)
	}
}

// TestOVAFaults refuses what is no package, or a damaged one, and leaves nothing.
func TestOVAFaults(t *testing.T) {
	w := newWorld(t)
	d := w.open(onDatastore())
	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	damaged := w.ova(nil)
	b, err := os.ReadFile(damaged)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	damaged = write("damaged.ova", string(b))
	for name, c := range map[string]struct {
		path, want string
		sent       bool // what was made may still be there
	}{
		"a disk":     {write("disk.raw", strings.Repeat("x", 1024)), "is neither an OVA nor the folder of an OVF package", false},
		"a VMX":      {write("a.vmx", "config.version = \"8\"\nscsi0:0.fileName = \"a.vmdk\"\nscsi0:0.present = \"TRUE\"\nscsi0.present = \"TRUE\"\n"), "is a VMX, and vSphere imports OVF: want an OVA", false},
		"damaged":    {damaged, "damaged.ova: ", true},
		"not stream": {w.notStream(), "the disk is not a stream-optimized VMDK", true},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{T: t, server: w.server, host: w.host}
			before, log := len(w.server.VMs()), &platformtest.Log{}
			_, err := d.ImportRemote(t.Context(), origin("ova", c.path, Origin{}), platforms.State{Key: key("a"), Name: "ova"}, log)
			w.fails(err, c.want)
			if strings.Contains(log.String(), "once more") {
				t.Errorf("what cannot be read was tried again: %s", log)
			}
			if len(w.server.VMs()) != before || len(w.host.Left()) != 0 && !c.sent {
				t.Errorf("something is left; in the ledger %v", len(w.host.Left()))
			}
			w.cleared(d, name, before)
		})
	}
}

// notStream is an OVA whose disk is no stream.
func (w *world) notStream() string {
	w.Helper()
	m := &ovf.Machine{
		Name: "a", Hardware: (hardware.Options{DiskBus: "pvscsi"}).Described(false), Options: ovf.Options{Flavor: ovf.VMware},
		Disks: []ovf.Disk{{File: "a.vmdk", Size: -1, Capacity: 1 << 20}},
	}
	path := filepath.Join(w.TempDir(), "a.ova")
	f, err := os.Create(path)
	if err != nil {
		w.Fatal(err)
	}
	defer f.Close()
	if err := ovf.WriteOVA(f, m, nil, func(_ int, out io.Writer) error { _, err := io.WriteString(out, strings.Repeat("x", 4096)); return err }); err != nil {
		w.Fatal(err)
	}
	return path
}

// TestVirtualBoxOVA describes a machine of VirtualBox anew.
func TestVirtualBoxOVA(t *testing.T) {
	w := newWorld(t)
	d := w.open(onDatastore())
	log := &platformtest.Log{}
	path := w.ova(func(m *ovf.Machine) {
		m.Flavor, m.Hardware.DiskBus, m.Hardware.NIC = ovf.VirtualBox, "lsilogic", "virtio"
	})
	made, err := d.ImportRemote(t.Context(), origin("ova", path, Origin{}), platforms.State{Key: key("a"), Name: "ova"}, log)
	if err != nil || !strings.Contains(log.String(), "it is described anew") {
		t.Fatalf("made %+v: %v\n%s", made, err, log)
	}
	b, err := d.base(t.Context(), made.Ref)
	if err != nil {
		t.Fatal(err)
	}
	list := object.VirtualDeviceList(w.vm(b.name).Config.Hardware.Device)
	if len(list.SelectByType((*types.VirtualVmxnet3)(nil))) != 1 || len(list.SelectByType((*types.VirtualDisk)(nil))) != 1 {
		t.Errorf("its devices are %v", list)
	}
}

// typed are the letters of keys without modifiers.
func typed(events []types.UsbScanCodeSpecKeyEvent) string {
	var b strings.Builder
	for _, e := range events {
		usage := e.UsbHidCode >> 16
		switch {
		case e.UsbHidCode&0xffff != keyboardPage:
			b.WriteString("?")
		case usage >= 0x04 && usage <= 0x1d:
			letter := rune('a' + usage - 0x04)
			if e.Modifiers != nil && e.Modifiers.LeftShift != nil && *e.Modifiers.LeftShift {
				letter += 'A' - 'a'
			}
			b.WriteRune(letter)
		case usage >= 0x1e && usage <= 0x26:
			b.WriteRune('1' + usage - 0x1e)
		default:
			b.WriteString(map[int32]string{0x27: "0", 0x28: "\n", 0x2c: " ", 0x33: ":", 0x37: ".", 0x38: "/"}[usage])
		}
	}
	return b.String()
}

// TestInstall has an installer read its files over HTTP, from a CD that was uploaded and
// another one, and shut down.
func TestInstall(t *testing.T) {
	w := newWorld(t)
	d := w.open(onDatastore())
	iso := filepath.Join(t.TempDir(), "debian.iso")
	if err := os.WriteFile(iso, []byte(strings.Repeat("installer", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	guest := &installingGuest{world: w, d: d}
	w.server.Typed = guest.typed
	or := Origin{DiskSize: "3G", Hardware: &hardware.Options{Firmware: "uefi", DiskBus: "nvme", GuestOS: "debian12"}, Options: installer.Options{
		BootCommand: []string{"Auto url=<http>preseed.cfg<enter>"}, BootWait: "1ms", HTTP: platforms.Files{"preseed.cfg": "d-i preseed"}, CDFiles: platforms.Files{"user-data": "x"}, InstallTimeout: "1m",
	}}
	state := platforms.State{Key: key("iso"), Name: "iso"}
	made, err := d.ImportRemote(t.Context(), origin("iso", iso, or), state, &platformtest.Log{})
	if err != nil || made.Traits != (platforms.Traits{Arch: "amd64", Boot: "uefi"}) {
		t.Fatalf("made %+v: %v", made, err)
	}
	if guest.read != "d-i preseed" || len(guest.cds) != 2 {
		t.Errorf("the guest read %q, with the CDs %v", guest.read, guest.cds)
	}
	b, err := d.base(t.Context(), made.Ref)
	if err != nil {
		t.Fatal(err)
	}
	vm := w.vm(b.name)
	list := object.VirtualDeviceList(vm.Config.Hardware.Device)
	disks := list.SelectByType((*types.VirtualDisk)(nil))
	if len(list.SelectByType((*types.VirtualCdrom)(nil))) != 0 || len(disks) != 1 || disks[0].(*types.VirtualDisk).CapacityInBytes != 3<<30 ||
		vm.Config.Firmware != "efi" || vm.Config.GuestId != "debian12_64Guest" || len(list.SelectByType((*types.VirtualNVMEController)(nil))) != 1 {
		t.Errorf("the machine is %+v", vm.Config.Hardware)
	}
	if n := len(w.host.Left()); n != 0 {
		t.Errorf("in the ledger: %+v", w.host.Left())
	}
	if found, err := d.FindLayers(t.Context(), []string{state.Key}); err != nil || found[state.Key].Ref != made.Ref {
		t.Errorf("found %v: %v", found, err)
	}
	orphans, err := d.Orphans(t.Context(), time.Now().Add(time.Hour))
	if err != nil || len(orphans) != 0 {
		t.Errorf("left: %+v, %v", orphans, err)
	}
}

// An installingGuest does what the boot command says.
type installingGuest struct {
	*world
	d *driver

	mu   sync.Mutex
	text string
	read string
	cds  []string
}

func (g *installingGuest) typed(name string, events []types.UsbScanCodeSpecKeyEvent) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.text += typed(events); strings.HasSuffix(g.text, "\n") {
		go g.install(name, strings.TrimSuffix(g.text, "\n"))
	}
}

func (g *installingGuest) install(name, command string) {
	vm := g.vm(name)
	for _, cd := range object.VirtualDeviceList(vm.Config.Hardware.Device).SelectByType((*types.VirtualCdrom)(nil)) {
		g.cds = append(g.cds, cd.GetVirtualDevice().Backing.(*types.VirtualCdromIsoBackingInfo).FileName)
	}
	_, url, ok := strings.Cut(command, "Auto url") // the "=" is a key of its own
	res, err := http.Get(strings.TrimPrefix(url, "="))
	if err != nil || !ok {
		g.Errorf("%q was typed: %v", command, err)
	} else {
		b, err := io.ReadAll(res.Body)
		if err != nil || res.Body.Close() != nil {
			g.Error(err)
		}
		g.read = string(b)
	}
	if err := g.d.powerOff(g.Context(), vm.Self, name); err != nil {
		g.Error(err)
	}
}

// TestInstallFaults leaves nothing of an installer that does not end, nor of a build that
// is killed.
func TestInstallFaults(t *testing.T) {
	w := newWorld(t)
	d := w.open(onDatastore())
	iso := filepath.Join(t.TempDir(), "debian.iso")
	if err := os.WriteFile(iso, []byte("installer"), 0o600); err != nil {
		t.Fatal(err)
	}
	or := Origin{Options: installer.Options{InstallTimeout: "50ms"}}
	before := len(w.server.VMs())
	_, err := d.ImportRemote(t.Context(), origin("iso", iso, or), platforms.State{Key: key("a"), Name: "iso"}, &platformtest.Log{})
	w.fails(err, "the installer has not shut the machine down within 50ms")
	if len(w.server.VMs()) != before || len(w.host.Left()) != 0 {
		t.Errorf("something is left; in the ledger %v", w.host.Left())
	}
	or.StoredISO = "[LocalDS_7] a.iso"
	_, err = d.Pin(t.Context(), origin("datastore_iso", "", or))
	w.fails(err, `datastore_iso: datastore: there is no "LocalDS_7"`)
	or.StoredISO = "[LocalDS_0] a.iso"
	_, err = d.Pin(t.Context(), origin("datastore_iso", "", or))
	w.fails(err, "datastore_iso: there is no file [LocalDS_0] a.iso")
	for i, n := range moments(40, 6) {
		moment := fmt.Sprintf("build %d, which died after %d requests", i, n)
		before := len(w.server.VMs())
		w.dies(n)
		_, err := w.mortal(onDatastore()).ImportRemote(t.Context(), origin("iso", iso, or), platforms.State{Key: key(fmt.Sprint(i)), Name: "iso"}, &platformtest.Log{})
		w.server.HTTP = nil
		if err == nil {
			t.Errorf("%s: the installer has ended", moment)
		}
		w.cleared(d, moment, before)
	}
}

// TestStoredISO pins an image on a datastore by its size and time, and installs from it.
func TestStoredISO(t *testing.T) {
	w := newWorld(t)
	d := w.open(onDatastore())
	ds, err := d.datastore(t.Context(), "LocalDS_0")
	if err != nil {
		t.Fatal(err)
	}
	req := request{method: http.MethodPut, to: ds.NewURL("debian.iso"), size: 9, header: http.Header{}}
	if err := d.send(t.Context(), req, func(_ context.Context, w io.Writer) error { _, err := io.WriteString(w, "installer"); return err }); err != nil {
		t.Fatal(err)
	}
	o, err := d.Pin(t.Context(), origin("datastore_iso", "", Origin{StoredISO: "[LocalDS_0] debian.iso"}))
	if err != nil || !strings.HasPrefix(o.Pin.ID, "[LocalDS_0] debian.iso 9 ") || o.Pin.Date == "" {
		t.Fatalf("pinned to %+v: %v", o.Pin, err)
	}
	guest := &installingGuest{world: w, d: d}
	w.server.Typed = func(name string, _ []types.UsbScanCodeSpecKeyEvent) {
		for _, cd := range object.VirtualDeviceList(w.vm(name).Config.Hardware.Device).SelectByType((*types.VirtualCdrom)(nil)) {
			guest.cds = append(guest.cds, cd.GetVirtualDevice().Backing.(*types.VirtualCdromIsoBackingInfo).FileName)
		}
		go func() {
			if err := d.powerOff(t.Context(), w.vm(name).Self, name); err != nil {
				t.Error(err)
			}
		}()
	}
	o = origin("datastore_iso", "", Origin{StoredISO: "[LocalDS_0] debian.iso", Options: installer.Options{BootWait: "1ms", BootCommand: []string{"<enter>"}}})
	if _, err := d.ImportRemote(t.Context(), o, platforms.State{Key: key("a"), Name: "iso"}, &platformtest.Log{}); err != nil {
		t.Fatal(err)
	}
	if len(guest.cds) != 1 || guest.cds[0] != "[LocalDS_0] debian.iso" {
		t.Errorf("the CDs were %v", guest.cds)
	}
}

// TestKeys tells vSphere keys with the modifiers that are down.
func TestKeys(t *testing.T) {
	k := &keyboard{}
	strokes, err := installer.ParseKeys([]string{"A<leftCtrlOn>c<leftCtrlOff>b<leftAlt+f4><leftSuper>"}, "")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range strokes {
		for _, e := range k.events(s) {
			text := fmt.Sprintf("%x", e.UsbHidCode)
			if m := e.Modifiers; m != nil {
				for name, bit := range map[string]*bool{"shift": m.LeftShift, "ctrl": m.LeftControl, "alt": m.LeftAlt, "gui": m.LeftGui} {
					if bit != nil && *bit {
						text += " " + name
					}
				}
			}
			got = append(got, text)
		}
	}
	if want := "[40007 shift 60007 ctrl 50007 3d0007 alt e30007]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}

// TestOriginOptions refuses options that mean nothing for an origin.
func TestOriginOptions(t *testing.T) {
	for _, c := range []struct {
		kind string
		or   Origin
		want string
	}{
		{"template", Origin{SHA256: "a"}, "origin template: sha256, sha512 and checksums are for ova and iso"},
		{"ova", Origin{Snapshot: "a"}, "snapshot: belongs to a template or a vm"},
		{"ova", Origin{DiskSize: "3G"}, "disk_size and hardware are for installers"},
		{"ova", Origin{Options: installer.Options{InstallTimeout: "1h"}}, "the option install_timeout means nothing here"},
		{"iso", Origin{Hardware: &hardware.Options{DiskBus: "virtio"}}, "disk_bus: machines of vsphere have no virtio: pvscsi"},
		{"iso", Origin{Hardware: &hardware.Options{NIC: "rtl8139"}}, "nic: machines of vsphere have no rtl8139: vmxnet3"},
		{"iso", Origin{Hardware: &hardware.Options{Serial: true}}, "hardware: serial"},
		{"datastore_iso", Origin{Options: installer.Options{BootCommand: []string{"<a"}}}, "boot_command"},
		{"datastore_iso", Origin{SHA256: "a"}, "are for ova and iso"},
	} {
		(&world{T: t}).fails(c.or.check(c.kind, nil), c.want)
	}
	_, err := (&Options{HTTPAddress: "here"}).httpAddress()
	(&world{T: t}).fails(err, `http_address: "here" is not an address`)
}

// TestLaunch starts an OVA and a disk as whoever gets them would, with ports, and removes
// their machines.
func TestLaunch(t *testing.T) {
	w, _ := newFleet(t)
	d := w.open(onDatastore())
	before := len(w.server.VMs())
	for _, i := range []platforms.Image{{Path: w.ova(nil), Format: "ova"}, {Path: w.disk(), Format: "raw"}} {
		i.Forward = []platforms.Forward{{Guest: 22}}
		m, err := d.Launch(t.Context(), i, &platformtest.Log{})
		if err != nil {
			t.Fatal(err)
		}
		w.sh(m, "test -s /root/.ssh/authorized_keys")
		address, err := m.(platforms.Forwarder).Forwarded(t.Context(), 22)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		banner := make([]byte, 4)
		if _, err := io.ReadFull(conn, banner); err != nil || string(banner) != "SSH-" {
			t.Errorf("at the forwarded port: %q, %v", banner, err)
		}
		_, err = m.Commit(t.Context(), platforms.State{Key: key("a")})
		w.fails(err, "a machine of an image has no layers")
		if err := errors.Join(conn.Close(), m.Close(), m.Close()); err != nil {
			t.Error(err)
		}
	}
	bare, err := d.Launch(t.Context(), platforms.Image{Path: w.ova(nil), Format: "ova", NoLogin: true}, &platformtest.Log{})
	if err != nil {
		t.Fatal(err)
	}
	if err := bare.(platforms.PortWaiter).WaitPort(t.Context(), 22); err != nil {
		t.Error(err)
	}
	w.fails(bare.Run(t.Context(), platforms.Cmd{Args: []string{"true"}}), "no SSH login")
	if err := errors.Join(bare.Close(), bare.Close()); err != nil {
		t.Error(err)
	}
	_, err = d.Launch(t.Context(), platforms.Image{Path: "a.qcow2", Format: "qcow2"}, &platformtest.Log{})
	w.fails(err, "launch a.qcow2: vSphere starts from an ova, an ovf or a raw disk, and this is qcow2")
	if len(w.server.VMs()) != before || len(w.host.Left()) != 0 {
		t.Errorf("%d machines more are left, in the ledger %d", len(w.server.VMs())-before, len(w.host.Left()))
	}
}
