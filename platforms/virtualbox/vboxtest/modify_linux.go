package vboxtest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// aliases are options of modifyvm by names that are not those of showvminfo.
var aliases = map[string]string{
	"os-type": "ostype", "usb-ohci": "usb", "usbohci": "usb", "usb-ehci": "ehci", "usbehci": "ehci", "usb-xhci": "xhci", "usbxhci": "xhci",
	"nat-pf": "natpf", "nic-type": "nictype", "uart-mode": "uartmode", "uart-type": "uarttype", "mac-address": "macaddress", "clipboard-mode": "clipboard",
	"cable-connected": "cableconnected", "mouse": "hidpointing", "keyboard": "hidkeyboard", "rtc-use-utc": "rtcuseutc", "longmode": "longmode",
	"nat-localhostreachable": "natlocalhost", "nat-localhost-reachable": "natlocalhost", "natdnshostresolver": "natdns", "nat-dns-host-resolver": "natdns",
	"natdnsproxy": "natproxy", "nat-dns-proxy": "natproxy", "tpm-type": "tpm", "bridgeadapter": "bridgeadapter", "bridge-adapter": "bridgeadapter",
	"drag-and-drop": "draganddrop", "audio-driver": "audiodriver", "audioout": "audio_out", "audio-out": "audio_out", "audioin": "audio_in", "audio-in": "audio_in",
	"vrde-port": "vrdeport", "vrde-auth-type": "vrdeauthtype", "vrde-address": "vrdeaddress", "nested-paging": "nestedpaging", "large-pages": "largepages", "hostonlyadapter": "hostonly",
}

// settable are the other options that are taken.
var settable = strings.Fields(`name groups description ostype memory vram acpi ioapic cpus cpuexecutioncap pae hpet hwvirtex nestedpaging largepages firmware chipset
 boot nic nictype natpf uart uartmode uarttype macaddress cableconnected audio audiodriver audio-enabled usb ehci xhci graphicscontroller rtcuseutc vrde vrdeport vrdeaddress vrdeauthtype
 clipboard draganddrop hidpointing hidkeyboard natlocalhost natdns natproxy tpm bridgeadapter hostonly paravirtprovider nested-hw-virt bioslogofadein bioslogofadeout biosbootmenu monitorcount accelerate3d
 defaultfrontend snapshotfolder nicpromisc natnet nicspeed apic x2apic longmode audiocontroller audiocodec teleporter audio_out audio_in`)

// numbered are those that end in the number of a card, port or place.
var numbered = strings.Fields("boot nic nictype natpf uart uartmode uarttype macaddress cableconnected natlocalhost natdns natproxy bridgeadapter hostonly nicpromisc natnet nicspeed")

func (c *call) modifyVM() error {
	if len(c.args) < 2 {
		return usage("Not enough parameters\n", modifyTitle, 2)
	}
	m, err := c.find(c.args[1], where{"FindMachine(Bstr(a->argv[0]).raw(), machine.asOutParam())", 632, "VBoxManageModifyVM"})
	if err != nil {
		return err
	}
	if m.Running != nil {
		return lockedBy(m, where{"LockMachine(a->session, LockType_Write)", 640, "VBoxManageModifyVM"})
	}
	if m.State == "saved" {
		return fail("VBOX_E_INVALID_VM_STATE", "SessionMachine/IMachine", "The machine is not mutable (state is Saved)", where{"COMSETTER(MemorySize)(ValueUnion.u32)", 724, "VBoxManageModifyVM"})
	}
	changed := m.settings.clone()
	kept := m.settings
	m.settings = changed
	for args := c.args[2:]; len(args) > 0; {
		n, err := c.modify(m, args)
		if err != nil {
			m.settings = kept
			return err
		}
		args = args[n:]
	}
	return nil
}

const modifyTitle = "Change settings for a virtual machine that is stopped"

// modify takes one option, and returns of how many arguments it was.
func (c *call) modify(m *machine, args []string) (int, error) {
	name := strings.TrimPrefix(args[0], "--")
	name, value, joined := strings.Cut(name, "=")
	key := strings.TrimRight(name, "12345678")
	number := name[len(key):]
	if alias, ok := aliases[key]; ok {
		key = alias
	}
	if !slices.Contains(settable, key) || !strings.HasPrefix(args[0], "--") || (number == "") == slices.Contains(numbered, key) {
		return 0, usage("Unknown option: "+args[0], modifyTitle, 1)
	}
	used := 1
	if !joined {
		if len(args) < 2 {
			return 0, usage("Missing argument to '"+args[0]+"'\n", modifyTitle, 2)
		}
		value, used = args[1], 2
	}
	next := func() string {
		if used < len(args) {
			used++
			return args[used-1]
		}
		return ""
	}
	switch key {
	case "memory":
		if n, err := strconv.Atoi(value); err != nil || n < 4 {
			return 0, fail("NS_ERROR_INVALID_ARG", "SessionMachine/IMachine", fmt.Sprintf("Invalid RAM size: %s MB (must be in range [4, 2097152] MB)", value), where{"COMSETTER(MemorySize)(ValueUnion.u32)", 724, "VBoxManageModifyVM"})
		}
	case "natpf":
		if value == "delete" {
			rule := next()
			return used, m.deleteRule(rule, where{"RemoveRedirect(Bstr(ValueUnion.psz).raw())", 2111, "VBoxManageModifyVM"})
		}
		if strings.Count(value, ",") != 5 {
			return 0, usage("Missing or invalid argument to '--natpf'\n", modifyTitle, 2)
		}
		return used, m.addRule(value, 2098, "VBoxManageModifyVM")
	case "firmware":
		value = strings.ToUpper(value)
	case "audio-enabled":
		if key = "audio"; value == "off" {
			value = "none"
		} else {
			value = "default"
		}
	case "uart":
		if value != "off" {
			value = "0x0" + strings.TrimPrefix(strings.ToLower(value), "0x") + "," + next()
			m.Values["uartmode"+number] = or(m.Values["uartmode"+number], "disconnected")
		}
	case "uartmode":
		if value == "file" || value == "server" || value == "client" || value == "tcpserver" || value == "tcpclient" {
			value += "," + next()
		}
	case "macaddress":
		if value == "auto" {
			value = newMAC()
		}
	case "nic":
		if value != "none" && m.Values["macaddress"+number] == "" {
			m.Values["macaddress"+number] = newMAC()
		}
	case "name":
		return used, c.rename(m, value)
	}
	m.Values[key+number] = value
	return used, nil
}

func or(value, without string) string {
	if value == "" {
		return without
	}
	return value
}

// rename moves the machine's folder, as far as it bears the old name.
func (h *home) rename(m *machine, name string) error {
	old := m.folder()
	file := fileName(name)
	m.Name = name
	if filepath.Base(old) != strings.TrimSuffix(filepath.Base(m.File), ".vbox") {
		return nil
	}
	folder := filepath.Join(filepath.Dir(old), file)
	if err := os.Rename(old, folder); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(folder, filepath.Base(m.File)), filepath.Join(folder, file+".vbox")); err != nil {
		return err
	}
	m.File = filepath.Join(folder, file+".vbox")
	for _, d := range h.Media {
		if rel, ok := strings.CutPrefix(d.Path, old+"/"); ok {
			d.Path = filepath.Join(folder, rel)
		}
	}
	return nil
}

const addRedirect = "AddRedirect(Bstr(strName).raw(), proto, Bstr(strHostIp).raw(), RTStrToUInt16(strHostPort), Bstr(strGuestIp).raw(), RTStrToUInt16(strGuestPort))"

// addRule adds a rule of NAT, "name,protocol,host IP,host port,guest IP,guest port".
func (m *machine) addRule(rule string, line int, file string) error {
	parts := strings.Split(rule, ",")
	for _, r := range m.Rules {
		have := strings.Split(r, ",")
		what := ""
		if have[0] == parts[0] {
			what = "A NAT rule of this name already exists"
		} else if have[2] == parts[2] && have[3] == parts[3] && have[1] == parts[1] {
			what = "A NAT rule for this host port and this host IP already exists"
		}
		if what != "" {
			return fail("NS_ERROR_INVALID_ARG", "NATEngineWrap/INATEngine", what, where{addRedirect, line, file})
		}
	}
	m.Rules = append(m.Rules, rule)
	return nil
}

func (m *machine) rule(name string) string {
	for _, r := range m.Rules {
		if strings.HasPrefix(r, name+",") {
			return r
		}
	}
	return ""
}

func (m *machine) deleteRule(name string, at where) error {
	rule := m.rule(name)
	if rule == "" {
		return &failure{exit: 1, text: "VBoxManage: error: Code NS_ERROR_INVALID_ARG (0x80070057) - Invalid argument value (extended info not available)\n" + at.String()}
	}
	m.Rules = slices.DeleteFunc(m.Rules, func(r string) bool { return r == rule })
	return nil
}
