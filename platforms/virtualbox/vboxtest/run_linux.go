package vboxtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bake.build/bake/internal/testqemu"
)

func (c *call) startVM() error {
	pos, opts := split(c.args[1:], map[string]int{"type": 1, "putenv": 1})
	if len(pos) != 1 {
		return usage("at least one VM name or uuid required\n", "Start a virtual machine", 2)
	}
	m, err := c.find(pos[0], where{"FindMachine(Bstr(pszVM).raw(), machine.asOutParam())", 867, "VBoxManageMisc"})
	if err != nil {
		return err
	}
	at := where{"LaunchVMProcess(a->session, sessionType.raw(), ComSafeArrayAsInParam(aBstrEnv), progress.asOutParam())", 880, "VBoxManageMisc"}
	if m.Running != nil {
		return fail("VBOX_E_INVALID_OBJECT_STATE", "MachineWrap/IMachine", fmt.Sprintf("The machine '%s' is already locked by a session (or being locked or unlocked)", m.Name), at)
	}
	if kind := opts.or("type", "gui"); !slices.Contains([]string{"gui", "headless", "sdl", "separate"}, kind) {
		return fail("NS_ERROR_INVALID_ARG", "MachineWrap/IMachine", fmt.Sprintf("Invalid frontend name: '%s'", kind), at)
	}
	c.print("Waiting for VM \"%s\" to power on...\n", m.Name)
	if path := c.missing(m); path != "" {
		f := fail("NS_ERROR_FAILURE", "MediumWrap/IMedium", fmt.Sprintf("Could not open the medium '%s'.\nVBoxManage: error: VD: error VERR_FILE_NOT_FOUND opening image file '%s' (VERR_FILE_NOT_FOUND)", path, path), where{})
		f.text = strings.ReplaceAll(f.text, ", callee nsISupports", "")
		return f
	}
	if err := c.powerOn(m); err != nil {
		f := fail("NS_ERROR_FAILURE", "ConsoleWrap/IConsole", err.Error(), where{})
		f.text = strings.ReplaceAll(f.text, ", callee nsISupports", "")
		return f
	}
	c.print("VM \"%s\" has been successfully started.\n", m.Name)
	return nil
}

// powerOn starts QEMU. The machine's disks are raw copies of what its media hold, which
// it writes over.
func (c *call) powerOn(m *machine) error {
	log := filepath.Join(m.folder(), "Logs", "VBox.log")
	if err := os.MkdirAll(filepath.Dir(log), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(log, []byte("00:00:00.000000 VirtualBox VM 7.0.10 r158379 linux.amd64 release log\n"), 0o600); err != nil {
		return err
	}
	q := c.qemu(m)
	disks := filepath.Join(c.dir, "disks", m.UUID)
	if err := os.MkdirAll(disks, 0o700); err != nil {
		return err
	}
	m.Running = &running{Disks: map[string]*live{}}
	args, err := c.hardware(m)
	if err == nil {
		var drives []string
		if drives, err = c.drives(m, disks); err == nil {
			args = append(args, drives...)
			if m.State == "saved" && m.Saved != "" {
				args = append(args, "-incoming", "exec:cat '"+m.Saved+"'")
			}
			err = q.Start(args)
		}
	}
	if err == nil {
		err = c.awaitRunning(m)
	}
	if err != nil {
		m.Running = nil
		return errors.Join(err, appendLog(log, "Power up failed (vrc=VERR_GENERAL_FAILURE): "+err.Error()))
	}
	saved := m.Saved
	m.Saved = ""
	m.setState("running")
	if err := c.forget(saved); err != nil {
		return err
	}
	for _, r := range m.Rules {
		if err := c.forward(m, r); err != nil {
			return err
		}
	}
	return nil
}

// forget removes a saved state that no machine and no snapshot has any more.
func (c *call) forget(saved string) error {
	for _, m := range c.Machines {
		if saved == "" || m.Saved == saved || slices.ContainsFunc(m.Snapshots, func(s *snapshot) bool { return s.Saved == saved }) {
			return nil
		}
	}
	if err := os.Remove(saved); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// awaitRunning waits until what was saved is there again.
func (c *call) awaitRunning(m *machine) error {
	for range 1200 {
		var s struct{ Status string }
		if err := c.qemu(m).Run("query-status", nil, &s); err != nil {
			return err
		}
		switch s.Status {
		case "running":
			return nil
		case "paused":
			return c.qemu(m).Run("cont", nil, nil)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("the saved state does not come up")
}

func appendLog(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "00:00:00.415174 %s\n", text)
	return errors.Join(err, f.Close())
}

// loopback is where ports of rules are that do not say it: a test has none elsewhere.
const loopback = "127.0.0.1"

// forward has QEMU lead a port into the machine. One that is taken is no error: the log
// says so.
func (c *call) forward(m *machine, rule string) error {
	p := strings.Split(rule, ",")
	said, err := c.qemu(m).Human(fmt.Sprintf("hostfwd_add net1 %s:%s:%s-%s:%s", p[1], or(p[2], loopback), p[3], p[4], p[5]))
	if err != nil {
		return err
	}
	if said != "" {
		return appendLog(filepath.Join(m.folder(), "Logs", "VBox.log"), fmt.Sprintf("NAT: Failed to redirect %s %s:%s -> 0.0.0.0:%s (Address already in use)", strings.ToUpper(p[1]), p[2], p[3], p[5]))
	}
	return nil
}

// cards are QEMU's for VirtualBox's.
var cards = map[string]string{"82540EM": "e1000", "82543GC": "e1000-82544gc", "82545EM": "e1000-82545em", "virtio": "virtio-net-pci", "Am79C973": "pcnet", "Am79C970A": "pcnet"}

// hardware returns QEMU's options for all but the drives.
func (c *call) hardware(m *machine) ([]string, error) {
	v := m.Values
	args := []string{"-name", m.Name, "-machine", "pc", "-m", or(v["memory"], "128"), "-smp", or(v["cpus"], "1"), "-vga", "std"}
	if strings.HasPrefix(v["firmware"], "EFI") {
		if _, err := os.Stat(m.nvram()); err != nil {
			text, err := os.ReadFile("/usr/share/OVMF/OVMF_VARS_4M.fd")
			if err != nil {
				return nil, err
			}
			if err := os.WriteFile(m.nvram(), text, 0o600); err != nil {
				return nil, err
			}
		}
		args = append(args, "-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd", "-drive", "if=pflash,format=raw,file="+commas(m.nvram()))
	}
	if v["rtcuseutc"] != "on" {
		args = append(args, "-rtc", "base=localtime")
	}
	for n := range 8 {
		at := fmt.Sprint(n + 1)
		card, kind := cards[or(v["nictype"+at], "82540EM")], or(v["nic"+at], "none")
		if kind == "none" || card == "" {
			continue
		}
		mac := strings.ToLower(v["macaddress"+at])
		netdev := "user,id=net" + at
		if kind != "nat" {
			netdev += ",restrict=on"
		}
		args = append(args, "-netdev", netdev, "-device", fmt.Sprintf("%s,netdev=net%s,mac=%s:%s:%s:%s:%s:%s", card, at, mac[0:2], mac[2:4], mac[4:6], mac[6:8], mac[8:10], mac[10:12]))
	}
	if path, ok := strings.CutPrefix(v["uartmode1"], "file,"); ok && or(v["uart1"], "off") != "off" {
		args = append(args, "-chardev", "file,id=uart1,path="+commas(path), "-serial", "chardev:uart1")
	}
	for _, device := range []string{"pcbios", "efi"} {
		if oem := m.Extra["VBoxInternal/Devices/"+device+"/0/Config/DmiOEMVBoxVer"]; oem != "" && (device == "efi") == strings.HasPrefix(v["firmware"], "EFI") {
			args = append(args, "-smbios", "type=11,value="+commas(oem))
		}
	}
	return args, nil
}

func commas(s string) string { return strings.ReplaceAll(s, ",", ",,") }

// driveID is the name of a drive in QEMU.
func driveID(ctl *controller, at string) string {
	return "drive-" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, ctl.Name) + "-" + at
}

// drives returns QEMU's options of the controllers and what is on them.
func (c *call) drives(m *machine, dir string) (args []string, err error) {
	for i, ctl := range m.Controllers {
		id := fmt.Sprintf("ctl%d", i)
		if device := map[string]string{"IntelAhci": "ich9-ahci", "LsiLogic": "lsi53c895a", "BusLogic": "lsi53c895a", "LsiLogicSas": "mptsas1068", "VirtioSCSI": "virtio-scsi-pci"}[ctl.Kind]; device != "" {
			args = append(args, "-device", device+",id="+id)
		}
		for _, at := range slices.Sorted(mapsKeys(ctl.Slots)) {
			s := ctl.Slots[at]
			var port, device int
			if _, err := fmt.Sscanf(at, "%d-%d", &port, &device); err != nil {
				return nil, err
			}
			drive := driveID(ctl, at)
			node := "n" + drive
			option, err := c.blockdev(m, s, drive, dir)
			if err != nil {
				return nil, err
			}
			if option != "" {
				args = append(args, "-blockdev", option)
			}
			args = append(args, "-device", attach(ctl, id, port, device, s.DVD)+",id="+drive+bootIndex(m, s.DVD, port)+driveOf(node, option))
		}
	}
	return args, nil
}

func driveOf(node, option string) string {
	if option == "" {
		return ""
	}
	return ",drive=" + node
}

// bootIndex follows from the machine's order of devices.
func bootIndex(m *machine, dvd bool, port int) string {
	for i, without := range []string{"floppy", "dvd", "disk", "none"} {
		if what := or(m.Values[fmt.Sprint("boot", i+1)], without); what == "dvd" && dvd || what == "disk" && !dvd {
			return fmt.Sprintf(",bootindex=%d", 100*(i+1)+port)
		}
	}
	return ""
}

// attach is QEMU's device of a slot.
func attach(ctl *controller, id string, port, device int, dvd bool) string {
	kind := "hd"
	if dvd {
		kind = "cd"
	}
	switch ctl.Kind {
	case "IntelAhci":
		return fmt.Sprintf("ide-%s,bus=%s.%d", kind, id, port)
	case "NVMe":
		return fmt.Sprintf("nvme,serial=%s%d", id, port)
	case "LsiLogic", "BusLogic", "LsiLogicSas", "VirtioSCSI":
		return fmt.Sprintf("scsi-%s,bus=%s.0,scsi-id=%d", kind, id, port)
	}
	return fmt.Sprintf("ide-%s,bus=ide.%d,unit=%d", kind, port, device)
}

func (c *call) blockdev(m *machine, s *slot, drive, dir string) (string, error) {
	node := "n" + drive
	d := c.medium(s.Medium)
	if d == nil {
		return "", nil // an empty drive
	}
	if s.DVD {
		return fmt.Sprintf(`{"driver":"raw","node-name":%q,"read-only":true,"file":{"driver":"file","filename":%q,"locking":"off"}}`, node, d.Path), nil
	}
	l := &live{Raw: filepath.Join(dir, drive+".raw"), Overlay: filepath.Join(dir, drive+".qcow2"), Node: node, Medium: d.UUID}
	for _, old := range []string{l.Raw, l.Overlay} {
		if err := os.RemoveAll(old); err != nil {
			return "", err
		}
	}
	if err := c.flatten(d, l.Raw); err != nil {
		return "", err
	}
	if _, err := testqemu.Img("create", "-q", "-f", "qcow2", l.Overlay, fmt.Sprint(d.Capacity)); err != nil {
		return "", err
	}
	m.Running.Disks[drive] = l
	return (&testqemu.Node{Name: node, Path: l.Overlay, Format: "qcow2", Backing: &testqemu.Node{Name: "r" + drive, Path: l.Raw, Format: "raw"}}).Option()
}

// ended brings the media up to date with a machine that does not run any more.
func (h *home) ended(m *machine, state string) error {
	for _, l := range m.Running.Disks {
		if err := h.sync(l); err != nil {
			return err
		}
	}
	m.Running = nil
	m.setState(state)
	return errors.Join(os.RemoveAll(filepath.Join(h.dir, "disks", m.UUID)), os.RemoveAll(h.qemu(m).Dir))
}

// saveMemory writes the state of a machine that stands still.
func (c *call) saveMemory(m *machine, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	q := c.qemu(m)
	if err := q.Run("migrate-set-parameters", map[string]any{"max-bandwidth": int64(8) << 30}, nil); err != nil {
		return err
	}
	if err := q.Run("migrate", map[string]string{"uri": "exec:cat >'" + path + "'"}, nil); err != nil {
		return err
	}
	for range 2400 {
		var s struct{ Status string }
		if err := q.Run("query-migrate", nil, &s); err != nil {
			return err
		}
		switch s.Status {
		case "completed":
			return nil
		case "failed", "cancelled":
			return errors.New("the state cannot be saved")
		}
		time.Sleep(25 * time.Millisecond)
	}
	return errors.New("the state is not saved in time")
}
