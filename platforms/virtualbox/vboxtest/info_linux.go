package vboxtest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// infoHead and infoTail are what showvminfo --machinereadable prints of a machine, before
// its controllers and cards and after. A key with a value in braces has that one unless
// the machine has another.
const infoHead = `name="{@name}"
Encryption:     disabled
groups="{groups:/}"
ostype="{@ostype}"
UUID="{@uuid}"
CfgFile="{@file}"
SnapFldr="{@snapshots}"
LogFldr="{@logs}"
hardwareuuid="{@uuid}"
memory={memory:128}
pagefusion="off"
vram={vram:8}
cpuexecutioncap={cpuexecutioncap:100}
hpet="{hpet:off}"
cpu-profile="host"
chipset="{chipset:piix3}"
firmware="{firmware:BIOS}"
cpus={cpus:1}
pae="{pae:on}"
longmode="on"
triplefaultreset="off"
apic="on"
x2apic="on"
nested-hw-virt="{nested-hw-virt:off}"
cpuid-portability-level=0
bootmenu="messageandmenu"
boot1="{boot1:floppy}"
boot2="{boot2:dvd}"
boot3="{boot3:disk}"
boot4="{boot4:none}"
acpi="{acpi:on}"
ioapic="{ioapic:on}"
biosapic="apic"
biossystemtimeoffset=0
BIOS NVRAM File="{@nvram}"
rtcuseutc="{rtcuseutc:off}"
hwvirtex="{hwvirtex:on}"
nestedpaging="{nestedpaging:on}"
largepages="{largepages:on}"
vtxvpid="on"
vtxux="on"
virtvmsavevmload="on"
iommu="none"
paravirtprovider="{paravirtprovider:default}"
effparavirtprovider="kvm"
VMState="{@state}"
VMStateChangeTime="{@changed}"
{@saved}graphicscontroller="{graphicscontroller:vboxvga}"
monitorcount=1
accelerate3d="off"
teleporterenabled="off"
teleporterport=0
teleporteraddress=""
teleporterpassword=""
tracing-enabled="off"
tracing-allow-vm-access="off"
tracing-config=""
autostart-enabled="off"
autostart-delay=0
defaultfrontend="{defaultfrontend:}"
vmprocpriority="default"
`

const infoTail = `lpt1="off"
lpt2="off"
audio="{audio:default}"
audio_out="{audio_out:off}"
audio_in="{audio_in:off}"
clipboard="{clipboard:disabled}"
draganddrop="{draganddrop:disabled}"
{@session}vrde="{vrde:off}"
usb="{usb:off}"
ehci="{ehci:off}"
xhci="{xhci:off}"
`

func quote(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), `"`, `\"`)
}

func (c *call) showVM() error {
	pos, opts := split(c.args[1:], map[string]int{"log": 1})
	if len(pos) == 0 {
		return usage("VM name or UUID required\n", "Show information about a virtual machine", 2)
	}
	m, err := c.find(pos[0], where{"FindMachine(Bstr(VMNameOrUuid).raw(), machine.asOutParam())", 3138, "VBoxManageInfo"})
	if err != nil {
		return err
	}
	if m.State == "inaccessible" {
		c.print("name=\"<inaccessible>\"\nUUID=\"%s\"\n", m.UUID)
		return nil
	}
	if opts.has("log") {
		text, err := os.ReadFile(filepath.Join(m.folder(), "Logs", "VBox.log"))
		c.out.Write(text)
		return err
	}
	if !opts.has("machinereadable") {
		c.print("Name:                        %s\nGuest OS:                    %s\nUUID:                        %s\nState:                       %s (since %s)\n", m.Name, guestOf(m), m.UUID, m.State, m.Changed)
		return nil
	}
	c.info(m)
	return nil
}

func guestOf(m *machine) string { return or(guests[m.Values["ostype"]], m.Values["ostype"]) }

func (c *call) info(m *machine) {
	values := maps.Clone(m.Values)
	session, saved := "", ""
	if m.Running != nil {
		session = "SessionName=\"headless\"\n"
	}
	if m.State == "saved" {
		saved = fmt.Sprintf("VMStateFile=\"%s\"\n", quote(m.Saved))
	}
	maps.Copy(values, map[string]string{
		"@name": quote(m.Name), "@ostype": guestOf(m), "@uuid": m.UUID, "@file": quote(m.File), "@snapshots": quote(m.snapFolder()),
		"@logs": quote(filepath.Join(m.folder(), "Logs")), "@nvram": quote(m.nvram()), "@state": m.State, "@changed": m.Changed, "@saved": saved, "@session": "",
	})
	c.fill(infoHead, values)
	c.controllers(m)
	for n := range 8 {
		c.card(m, fmt.Sprint(n+1))
	}
	c.print("hidpointing=\"%s\"\nhidkeyboard=\"%s\"\n", or(m.Values["hidpointing"], "ps2mouse"), or(m.Values["hidkeyboard"], "ps2kbd"))
	for n := range 4 {
		at := fmt.Sprint(n + 1)
		port := or(m.Values["uart"+at], "off")
		c.print("uart%s=\"%s\"\n", at, port)
		if port != "off" {
			c.print("uartmode%s=\"%s\"\nuarttype%s=\"16550A\"\n", at, quote(m.Values["uartmode"+at]), at)
		}
	}
	c.fill(infoTail, values)
	c.print("%s", session)
	if m.Running != nil {
		c.print("VideoMode=\"720,400,0\"@0,0 1\n")
	}
	if text := m.Values["description"]; text != "" {
		c.print("description=\"%s\"\n", quote(text))
	}
	c.snapshots(m)
	c.print("GuestMemoryBalloon=0\n")
	if m.Running != nil {
		c.print("GuestOSType=\"%s\"\nGuestAdditionsRunLevel=0\n", "Linux_64")
	}
}

func (m *machine) nvram() string {
	return filepath.Join(m.folder(), strings.TrimSuffix(filepath.Base(m.File), ".vbox")+".nvram")
}

// fill prints a text with values in its braces.
func (c *call) fill(text string, values map[string]string) {
	for text != "" {
		before, rest, ok := strings.Cut(text, "{")
		c.print("%s", before)
		if !ok {
			return
		}
		key, after, _ := strings.Cut(rest, "}")
		key, without, _ := strings.Cut(key, ":")
		c.print("%s", or(values[key], without))
		text = after
	}
}

func (c *call) controllers(m *machine) {
	for i, ctl := range m.Controllers {
		k := kinds[ctl.Bus]
		c.print("storagecontrollername%[1]d=\"%[2]s\"\nstoragecontrollertype%[1]d=\"%[3]s\"\nstoragecontrollerinstance%[1]d=\"0\"\nstoragecontrollermaxportcount%[1]d=\"%[4]d\"\nstoragecontrollerportcount%[1]d=\"%[5]d\"\nstoragecontrollerbootable%[1]d=\"%[6]s\"\n",
			i, ctl.Name, ctl.Kind, k.most, ctl.Ports, ctl.Bootable)
	}
	for _, ctl := range m.Controllers {
		for port := range ctl.Ports {
			for device := range kinds[ctl.Bus].devices {
				c.slot(ctl, fmt.Sprintf("%d-%d", port, device))
			}
		}
	}
}

func (c *call) slot(ctl *controller, at string) {
	s, ok := ctl.Slots[at]
	switch {
	case !ok:
		c.print("\"%s-%s\"=\"none\"\n", ctl.Name, at)
		return
	case s.Medium == "":
		c.print("\"%[1]s-%[2]s\"=\"emptydrive\"\n\"%[1]s-IsEjected-%[2]s\"=\"off\"\n", ctl.Name, at)
		return
	}
	path := ""
	if d := c.medium(s.Medium); d != nil {
		path = d.Path
	}
	c.print("\"%[1]s-%[2]s\"=\"%[3]s\"\n\"%[1]s-ImageUUID-%[2]s\"=\"%[4]s\"\n", ctl.Name, at, quote(path), s.Medium)
	if s.DVD {
		c.print("\"%[1]s-tempeject-%[2]s\"=\"off\"\n\"%[1]s-IsEjected-%[2]s\"=\"off\"\n", ctl.Name, at)
	} else if ctl.Bus != "ide" {
		c.print("\"%[1]s-hot-pluggable-%[2]s\"=\"off\"\n", ctl.Name, at)
	}
	c.print("\"%[1]s-nonrotational-%[2]s\"=\"off\"\n\"%[1]s-discard-%[2]s\"=\"off\"\n", ctl.Name, at)
}

func (c *call) card(m *machine, n string) {
	kind := or(m.Values["nic"+n], "none")
	if kind == "none" {
		c.print("nic%s=\"none\"\n", n)
		return
	}
	if kind == "nat" {
		c.print("natnet%s=\"nat\"\n", n)
	}
	c.print("macaddress%[1]s=\"%[2]s\"\ncableconnected%[1]s=\"%[3]s\"\nnic%[1]s=\"%[4]s\"\nnictype%[1]s=\"%[5]s\"\nnicspeed%[1]s=\"0\"\n",
		n, m.Values["macaddress"+n], or(m.Values["cableconnected"+n], "on"), kind, or(m.Values["nictype"+n], "82540EM"))
	if kind != "nat" {
		return
	}
	c.print("mtu=\"0\"\nsockSnd=\"64\"\nsockRcv=\"64\"\ntcpWndSnd=\"64\"\ntcpWndRcv=\"64\"\n")
	if n == "1" {
		rules := slices.Clone(m.Rules)
		sort.Strings(rules)
		for i, r := range rules {
			c.print("Forwarding(%d)=\"%s\"\n", i, r)
		}
	}
}

func (c *call) list() error {
	pos, opts := split(c.args[1:], nil)
	pos = slices.DeleteFunc(pos, func(s string) bool {
		long := s == "-l"
		if long {
			opts["long"] = nil
		}
		return long || s == "-s"
	})
	what := ""
	if len(pos) > 0 {
		what = pos[0]
	}
	switch what {
	case "vms", "runningvms":
		for _, m := range c.Machines {
			if what == "vms" || m.Running != nil {
				c.print("\"%s\" {%s}\n", m.Name, m.UUID)
			}
		}
	case "hdds", "dvds":
		for _, d := range c.Media {
			if d.DVD == (what == "dvds") && d.Parent == "" {
				c.family(d, opts.has("long"))
			}
		}
	case "systemproperties":
		c.print("API version:                     7_0\nDefault machine folder:          %s\nDefault hard disk format:        VDI\nDefault Guest Additions ISO:     \n", c.Folder)
	case "extpacks":
		c.print("Extension Packs: 0\n")
	case "ostypes":
		for _, id := range slices.Sorted(mapsKeys(guests)) {
			c.print("ID:          %s\nDescription: %s\n\n", id, guests[id])
		}
	case "natnets", "natnetworks", "hostonlyifs", "bridgedifs", "dhcpservers", "floppies", "intnets", "hostonlynets":
	default:
		return usage("Unknown subcommand \""+what+"\".\n", "View system information and VM configuration details", 2)
	}
	return nil
}

// family prints a medium, and its children below it.
func (c *call) family(d *medium, long bool) {
	c.describe(d, long)
	c.print("\n")
	for _, child := range c.children(d) {
		c.family(child, long)
	}
}
