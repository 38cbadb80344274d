package vmwaretest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"bake.build/bake/internal/vmdk"
	"bake.build/bake/internal/vmx"
)

// A state is what the stand-in keeps of a machine beside its VMX file.
type state struct {
	PID       int      `json:"pid"` // of QEMU; 0 when it does not run
	Started   string   `json:"started"`
	Snapshots []string `json:"snapshots"`
	Nodes     []string `json:"nodes"` // QEMU's names of what the disks are written to
}

const stateName = "vmwaretest.json"

func (s *state) read(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, stateName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return json.Unmarshal(text, s)
}

func (m *machine) save() error {
	text, err := json.Marshal(m.state)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(m.dir, stateName), text, 0o600)
}

// started tells a process from a later one with its number.
func started(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" {
		return ""
	}
	return fields[19]
}

func (m *machine) running() bool {
	return m.state.PID != 0 && started(m.state.PID) == m.state.Started
}

// ports are those that a machine's address has.
var ports = []int{22, 80, 443, 8080}

// cards are QEMU's for those of VMware's.
var cards = map[string]string{"e1000": "e1000", "e1000e": "e1000e", "vmxnet3": "vmxnet3", "vlance": "pcnet"}

func (m *machine) disks() ([]string, error) {
	text, err := os.ReadFile(m.path)
	if err != nil {
		return nil, err
	}
	machine, err := vmx.Parse(text)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, d := range machine.Disks {
		files = append(files, d.File)
	}
	return files, nil
}

// start runs QEMU, which outlives the command as VMware's own program does.
func (m *machine) start() error {
	if m.running() {
		return errors.New("the virtual machine is already powered on")
	}
	args, err := m.qemu()
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(m.dir, "vmware.log"))
	if err != nil {
		return err
	}
	cmd := exec.Command("qemu-system-x86_64", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = m.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := errors.Join(cmd.Start(), log.Close()); err != nil {
		return err
	}
	m.state.PID = cmd.Process.Pid
	m.state.Started = started(m.state.PID)
	if err := m.save(); err != nil {
		return err
	}
	// The one who lists asks for the machines that were started.
	note := filepath.Join(os.Getenv(StateEnv), fmt.Sprintf("%08x", m.number()))
	if err := os.WriteFile(note, []byte(m.path), 0o600); err != nil {
		return err
	}
	if _, err := m.qmp(`{"execute":"set_password","arguments":{"protocol":"vnc","password":` + quoted(m.keys["remotedisplay.vnc.password"]) + `}}`); err != nil {
		text, _ := os.ReadFile(log.Name()) // for the reason
		return fmt.Errorf("the virtual machine could not be powered on: %w: %s", err, text)
	}
	return m.lease()
}

func quoted(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(text)
}

// qemu returns QEMU's arguments for what the VMX file says.
func (m *machine) qemu() ([]string, error) {
	files, err := m.disks()
	if err != nil {
		return nil, err
	}
	args := []string{
		"-nodefaults", "-display", "none", "-accel", "tcg", "-cpu", "max,la57=off", "-device", "VGA", "-device", "virtio-rng-pci",
		"-m", m.keys["memsize"], "-smp", m.keys["numvcpus"], "-qmp", "unix:" + m.socket() + ",server=on,wait=off",
		"-serial", "file:" + m.keys["serial0.filename"], "-machine", "q35",
	}
	if port := m.keys["remotedisplay.vnc.port"]; port != "" {
		var n int
		if _, err := fmt.Sscan(port, &n); err != nil {
			return nil, err
		}
		args = append(args, "-vnc", fmt.Sprintf("127.0.0.1:%d,password=on", n-5900))
	}
	var forward strings.Builder
	for _, p := range ports {
		fmt.Fprintf(&forward, ",hostfwd=tcp:%s:%d-:%d", m.address(), p, p)
	}
	args = append(args, "-netdev", "user,id=nat"+forward.String(), "-device", cards[m.keys["ethernet0.virtualdev"]]+",netdev=nat")
	device, bus := "", func(int) string { return "" }
	switch {
	case m.keys["sata0:0.filename"] != "":
		device, bus = "ide-hd", func(i int) string { return fmt.Sprintf(",bus=ide.%d", i) }
	case m.keys["ide0:0.filename"] != "":
		device, bus = "ide-hd", func(i int) string { return fmt.Sprintf(",bus=ide.%d", i) }
	case m.keys["nvme0:0.filename"] != "":
		device, bus = "nvme", func(i int) string { return fmt.Sprintf(",serial=%d", i) }
	default:
		device = "scsi-hd"
		controller := "mptsas1068" // for the parallel one too, which QEMU lacks
		if m.keys["scsi0.virtualdev"] == "pvscsi" {
			controller = "pvscsi"
		}
		args = append(args, "-device", controller)
	}
	m.state.Nodes = nil
	for i, f := range files {
		node := fmt.Sprintf("disk%d-0", i)
		args = append(args, "-blockdev", fmt.Sprintf("driver=vmdk,node-name=%s,file.driver=file,file.locking=off,file.filename=%s", node, escaped(filepath.Join(m.dir, f))),
			"-device", fmt.Sprintf("%s,drive=%s%s", device, node, bus(i)))
		m.state.Nodes = append(m.state.Nodes, node)
	}
	for i := range 2 {
		path := m.keys[fmt.Sprintf("ide1:%d.filename", i)]
		if path == "" || m.keys[fmt.Sprintf("ide1:%d.startconnected", i)] != "TRUE" {
			continue
		}
		args = append(args, "-blockdev", fmt.Sprintf("driver=raw,node-name=cd%d,read-only=on,file.driver=file,file.filename=%s", i, escaped(path)),
			"-device", fmt.Sprintf("ide-cd,drive=cd%d,bus=ide.%d", i, 4+i))
	}
	if m.keys["firmware"] == "efi" {
		args = append(args, "-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd")
	}
	return append(args, "-boot", map[bool]string{true: "order=dc", false: "order=cd"}[strings.HasPrefix(m.keys["bios.bootorder"], "cdrom")]), nil
}

// escaped is a path in an option of QEMU's.
func escaped(path string) string { return strings.ReplaceAll(path, ",", ",,") }

// socket is the path at which QEMU is told what to do, which has to be short.
func (m *machine) socket() string {
	return filepath.Join(os.Getenv(StateEnv), fmt.Sprintf(".%08x", m.number()))
}

// qmp has QEMU do commands, one after the other.
func (m *machine) qmp(commands ...string) (last json.RawMessage, err error) {
	var conn net.Conn
	for range 100 {
		if conn, err = net.Dial("unix", m.socket()); err == nil || !m.running() {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for _, c := range append([]string{`{"execute":"qmp_capabilities"}`}, commands...) {
		if _, err := fmt.Fprintln(conn, c); err != nil {
			return nil, err
		}
		for {
			line, err := in.ReadBytes('\n')
			if err != nil {
				return nil, err
			}
			var answer struct {
				Return json.RawMessage
				Error  *struct{ Desc string }
			}
			if err := json.Unmarshal(line, &answer); err != nil {
				return nil, err
			}
			if answer.Error != nil {
				return nil, errors.New(answer.Error.Desc)
			}
			if answer.Return != nil {
				last = answer.Return
				break
			}
		}
	}
	return last, nil
}

func (m *machine) stop(soft bool) error {
	if !m.running() {
		return errors.New("the virtual machine is not powered on: " + m.path)
	}
	if soft {
		_, err := m.qmp(`{"execute":"system_powerdown"}`)
		return err
	}
	if err := syscall.Kill(m.state.PID, syscall.SIGTERM); err != nil {
		return err
	}
	for range 100 {
		if !m.running() {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("timeout")
}

func (m *machine) reset() error {
	if !m.running() {
		return errors.New("the virtual machine is not powered on: " + m.path)
	}
	_, err := m.qmp(`{"execute":"system_reset"}`)
	return err
}

// snapshot seals the disks, and has the machine write to new ones on top.
func (m *machine) snapshot(name string) error {
	files, err := m.disks()
	if err != nil {
		return err
	}
	changed := map[string]string{}
	for i, f := range files {
		child, err := m.child(f)
		if err != nil {
			return err
		}
		for key, value := range m.keys {
			if value == f {
				changed[key] = child
			}
		}
		if !m.running() {
			continue
		}
		node := fmt.Sprintf("disk%d-%d", i, len(m.state.Snapshots)+1)
		if _, err := m.qmp(
			fmt.Sprintf(`{"execute":"blockdev-add","arguments":{"driver":"vmdk","node-name":%q,"file":{"driver":"file","locking":"off","filename":%s},"backing":null}}`, node, quoted(filepath.Join(m.dir, child))),
			fmt.Sprintf(`{"execute":"blockdev-snapshot","arguments":{"node":%q,"overlay":%q}}`, m.state.Nodes[i], node),
		); err != nil {
			return err
		}
		m.state.Nodes[i] = node
	}
	if m.running() {
		// VMware saves the memory as well.
		memory := filepath.Join(m.dir, fmt.Sprintf("%s-Snapshot%d.vmem", m.name, len(m.state.Snapshots)+1))
		if err := os.WriteFile(memory, []byte("memory"), 0o600); err != nil {
			return err
		}
	}
	m.state.Snapshots = append(m.state.Snapshots, name)
	return errors.Join(m.setKeys(changed), m.save())
}

// setKeys is set for keys in lower case.
func (m *machine) setKeys(values map[string]string) error {
	named := map[string]string{}
	text, err := os.ReadFile(m.path)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		key, _, _ := strings.Cut(line, "=")
		key = strings.TrimSpace(key)
		if v, ok := values[strings.ToLower(key)]; ok {
			named[key] = v
		}
	}
	return m.set(named)
}

// child makes a disk of differences to the one called f, by the next name that is free.
func (m *machine) child(f string) (string, error) {
	base := strings.TrimSuffix(f, ".vmdk")
	if i := strings.LastIndexByte(base, '-'); i > 0 && len(base)-i == 7 {
		base = base[:i]
	}
	for n := 1; ; n++ {
		name := fmt.Sprintf("%s-%06d.vmdk", base, n)
		if _, err := os.Lstat(filepath.Join(m.dir, name)); err == nil {
			continue
		}
		d, err := vmdk.Describe(filepath.Join(m.dir, f))
		if err != nil {
			return "", err
		}
		cmd := exec.Command("qemu-img", "create", "-q", "-f", "vmdk", "-F", "vmdk", "-u", "-b", f, "-o", "subformat=monolithicSparse", name, fmt.Sprint(d.Size))
		cmd.Dir = m.dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("%w: %s", err, out)
		}
		return name, nil
	}
}
