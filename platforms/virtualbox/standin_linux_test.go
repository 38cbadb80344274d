package virtualbox

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofrs/flock"

	"bake.build/bake/internal/vdi"
)

// The stand-in is a VBoxManage that keeps its state below VBOX_USER_HOME, and whose
// machines are QEMU's. It knows what the driver calls, and refuses all else, as it does
// what VirtualBox 7.0.10 refuses: media whose parent it does not know, among others.

// TestMain is VBoxManage where the test binary is called by that name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) != program {
		os.Exit(m.Run())
	}
	os.Exit(standIn(os.Args[1:]))
}

// install puts the stand-in into PATH, and makes home the user's.
func install(t *testing.T) (home string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, program)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	home = t.TempDir()
	t.Setenv("VBOX_USER_HOME", home)
	t.Setenv("VBOX_IPC_SOCKETID", "bake-test")
	return home
}

// faultEnv names a file whose lines say what goes wrong: what a command begins with, what
// happens, and how often, as in "modifyvm: locked 3". Kinds are hang, die (VBoxSVC does),
// locked, unknown (an error without a code), and zero (it fails with exit code zero).
const faultEnv = "BAKE_VBOXTEST_FAULTS"

type medium struct{ Path, Parent string } // Parent is a UUID

// A registry is what a VBoxSVC knows.
type registry struct {
	Media    map[string]medium // by UUID
	Machines map[string]*machine
	Locked   map[string]int // how often a command was refused
}

type machine struct {
	Name, Folder string
	Options      map[string]string // of modifyvm
	Extra        map[string]string
	Disks        map[string]string // UUIDs of media, by slot
	CDs          []string
	Buses        map[string]string // of controllers
	Rules        map[string]string
	Snapshots    int
	Overlays     int
	PID          int
	Changed      string
}

type refusal struct{ said, code string }

func (r *refusal) Error() string { return r.said }

func refuse(code, format string, args ...any) error {
	return &refusal{fmt.Sprintf(format, args...), code}
}

func standIn(args []string) int {
	if args[0] == "--version" {
		fmt.Println("7.0.10r158379")
		return 0
	}
	home := os.Getenv("VBOX_USER_HOME")
	lock := flock.New(filepath.Join(home, "lock"))
	if err := lock.Lock(); err != nil {
		fmt.Fprintln(os.Stderr, "VBoxManage: error: Failed to initialize COM! (hrc=NS_ERROR_FAILURE)")
		return 1
	}
	r := &registry{Media: map[string]medium{}, Machines: map[string]*machine{}, Locked: map[string]int{}}
	if text, err := os.ReadFile(filepath.Join(home, "state.json")); err == nil {
		if err := json.Unmarshal(text, r); err != nil {
			panic(err)
		}
	}
	err := r.fault(args)
	if err == nil {
		err = r.run(args)
	}
	text, jsonErr := json.Marshal(r)
	if jsonErr = errors.Join(jsonErr, os.WriteFile(filepath.Join(home, "state.json"), text, 0o600), lock.Unlock()); jsonErr != nil {
		panic(jsonErr)
	}
	refused := (*refusal)(nil)
	switch {
	case err == nil:
		return 0
	case errors.As(err, &refused) && refused.code == "":
		fmt.Fprintf(os.Stderr, "VBoxManage: error: %v\n", err)
	case errors.As(err, &refused):
		fmt.Fprintf(os.Stderr, "VBoxManage: error: %v\nVBoxManage: error: Details: code %s (0x80bb0001), component MachineWrap, interface IMachine, callee nsISupports\n", err, refused.code)
		if refused.code == "QUIET" {
			return 0
		}
	default:
		fmt.Fprintf(os.Stderr, "VBoxManage: error: the stand-in: %v\n", err)
	}
	return 1
}

// fault has a command go wrong.
func (r *registry) fault(args []string) error {
	text, err := os.ReadFile(os.Getenv(faultEnv))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		prefix, what, _ := strings.Cut(strings.TrimSpace(line), ": ")
		f := strings.Fields(what + " 1")
		times, err := strconv.Atoi(f[1])
		if err != nil || !strings.HasPrefix(strings.Join(args, " "), prefix) || r.Locked[prefix] >= times {
			continue
		}
		r.Locked[prefix]++
		switch f[0] {
		case "hang":
			time.Sleep(time.Hour)
		case "die":
			return refuse("", "Code NS_ERROR_CALL_FAILED (0x800706BE) - Call to remote object failed (extended info not available)")
		case "unknown":
			return refuse("", "the moon is in the wrong house")
		case "zero":
			return refuse("QUIET", "it did not work")
		case "locked":
			return refuse("VBOX_E_INVALID_OBJECT_STATE", "The machine 'x' already has a lock request pending")
		}
	}
	return nil
}

// flags returns the options of args by their names, and the other words.
func flags(args []string) (map[string]string, []string) {
	f, words := map[string]string{}, []string(nil)
	for i := 0; i < len(args); i++ {
		name, ok := strings.CutPrefix(args[i], "--")
		if !ok {
			words = append(words, args[i])
			continue
		}
		for i+1 < len(args) && !strings.HasPrefix(args[i+1], "--") {
			i++
			f[name] = strings.TrimSpace(f[name] + " " + args[i])
		}
		if _, ok := f[name]; !ok {
			f[name] = "on"
		}
	}
	return f, words
}

func (r *registry) machine(name string) (*machine, error) {
	if m, ok := r.Machines[name]; ok {
		return m, nil
	}
	for _, m := range r.Machines {
		if m.Name == name {
			return m, nil
		}
	}
	return nil, refuse(errNotFound, "Could not find a registered machine named '%s'", name)
}

func (r *registry) run(args []string) error {
	f, words := flags(args[1:])
	if args[0] == "list" {
		return r.list(words)
	}
	if len(words) == 0 && args[0] != "createvm" && args[0] != "createmedium" {
		return fmt.Errorf("%q", args)
	}
	switch args[0] {
	case "createvm":
		folder := filepath.Join(f["basefolder"], f["name"])
		m := &machine{Name: f["name"], Folder: folder, Options: map[string]string{}, Extra: map[string]string{}, Disks: map[string]string{}, Buses: map[string]string{}, Rules: map[string]string{}, Changed: "2026-11-28T13:05:33.469000000"}
		r.Machines[f["uuid"]] = m
		return errors.Join(os.MkdirAll(filepath.Join(folder, "Snapshots"), 0o700), os.MkdirAll(filepath.Join(folder, "Logs"), 0o700))
	case "createmedium":
		return r.createMedium(f)
	case "showmediuminfo", "closemedium", "clonemedium":
		return r.medium(args[0], words, f)
	}
	m, err := r.machine(words[0])
	if err != nil {
		return err
	}
	switch args[0] {
	case "modifyvm":
		m.Options = f
	case "storagectl":
		m.Buses[f["name"]] = f["add"]
	case "storageattach":
		return r.attach(m, f)
	case "setextradata":
		m.Extra[words[1]] = words[2]
	case "showvminfo":
		return r.show(words[0], m)
	case "startvm":
		fmt.Printf("Waiting for VM %q to power on...\n", m.Name)
		return r.start(m)
	case "snapshot":
		return r.snapshot(m)
	case "controlvm":
		return r.control(m, words[1:])
	default:
		return fmt.Errorf("it does not know %q", args)
	}
	return nil
}

func (r *registry) list(words []string) error {
	switch words[0] {
	case "systemproperties":
		fmt.Println("Default Guest Additions ISO:     ")
	case "hdds":
		for id, m := range r.Media {
			fmt.Printf("UUID:           %s\nParent UUID:    base\nLocation:       %s\n\n", id, m.Path)
		}
	default:
		return fmt.Errorf("list %q", words)
	}
	return nil
}

// textID is the UUID of a medium as VirtualBox prints it.
func textID(b [16]byte) string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(b[:]), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:])
}

// open makes a medium known.
func (r *registry) open(path string) (id string, err error) {
	for id, m := range r.Media {
		if m.Path == path || id == path {
			return id, nil
		}
	}
	h, err := vdi.HeaderOf(path)
	if err != nil {
		return "", refuse("VBOX_E_FILE_ERROR", "Could not find file for the medium '%s' (VERR_FILE_NOT_FOUND)", path)
	}
	id = textID(h.ID)
	if other, ok := r.Media[id]; ok {
		return "", refuse("VBOX_E_INVALID_OBJECT_STATE", "Cannot register the hard disk '%s' {%s} because a hard disk '%s' with UUID already exists", path, id, other.Path)
	}
	m := medium{Path: path}
	if h.Diff() {
		m.Parent = textID(h.Parent)
		if _, ok := r.Media[m.Parent]; !ok {
			return "", refuse("NS_ERROR_FAILURE", "Parent medium with UUID {%s} of the medium '%s' is not found in the media registry", m.Parent, path)
		}
	}
	r.Media[id] = m
	return id, nil
}

// chain returns the paths of a medium and its parents, the oldest first.
func (r *registry) chain(id string) (paths []string) {
	for ; id != ""; id = r.Media[id].Parent {
		paths = append([]string{r.Media[id].Path}, paths...)
	}
	return paths
}

func (r *registry) createMedium(f map[string]string) error {
	parent, err := r.open(f["diffparent"])
	if err != nil {
		return err
	}
	id, err := r.differ(f["filename"], parent, nil, nil)
	fmt.Println("Medium created. UUID:", id)
	return err
}

// differ writes a medium of differences between two raw disks, or an empty one.
func (r *registry) differ(path, parent string, before, after *os.File) (string, error) {
	h, err := vdi.HeaderOf(r.Media[parent].Path)
	if err != nil {
		return "", err
	}
	const block = 1 << 20
	blocks := (h.Size + block - 1) / block
	b := make([]byte, 2*block)
	id := newID()
	copy(b, "<<< Oracle VM VirtualBox Disk Image >>>\n")
	le := binary.LittleEndian
	for at, v := range map[int]uint32{0x40: 0xbeda107f, 0x44: 0x10001, 0x48: 400, 0x4c: 4, 0x154: block, 0x158: 2 * block, 0x168: 512, 0x178: block, 0x180: uint32(blocks)} {
		le.PutUint32(b[at:], v)
	}
	le.PutUint64(b[0x170:], uint64(h.Size))
	change := newID()
	copy(b[0x188:], id[:])
	copy(b[0x198:], change[:])
	copy(b[0x1a8:], h.ID[:])
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	defer out.Close()
	next := uint32(0)
	one, other := make([]byte, block), make([]byte, block)
	for n := range blocks {
		entry := uint32(0xffffffff)
		if after != nil {
			clear(one)
			clear(other)
			_, _ = before.ReadAt(one, n*block) // may end in it
			_, _ = after.ReadAt(other, n*block)
			if !bytes.Equal(one, other) {
				if _, err := out.WriteAt(other, 2*block+int64(next)*block); err != nil {
					return "", err
				}
				entry = next
				next++
			}
		}
		le.PutUint32(b[block+4*n:], entry)
	}
	if _, err := out.WriteAt(b, 0); err != nil {
		return "", err
	}
	r.Media[textID(id)] = medium{Path: path, Parent: parent}
	return textID(id), nil
}

func (r *registry) medium(command string, words []string, f map[string]string) error {
	id, err := r.open(words[1])
	if err != nil {
		return err
	}
	switch command {
	case "showmediuminfo":
		fmt.Printf("UUID:           %s\nLocation:       %s\n", id, r.Media[id].Path)
	case "closemedium":
		delete(r.Media, id)
	case "clonemedium":
		raw, err := r.raw(words[2]+".raw", id)
		if err != nil {
			return err
		}
		defer raw.Close()
		defer os.Remove(raw.Name())
		if f["format"] != "VDI" {
			return fmt.Errorf("clonemedium %v", f)
		}
		if err := (media{}).Write(context.Background(), words[2], raw.Name()); err != nil {
			return err
		}
		_, err = r.open(words[2])
		return err
	}
	return nil
}

// raw writes what a medium holds to a file.
func (r *registry) raw(path, id string) (*os.File, error) {
	out, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return out, vdi.ReadChain(context.Background(), out, r.chain(id), nil)
}

func (r *registry) attach(m *machine, f map[string]string) error {
	if _, ok := m.Buses[f["storagectl"]]; !ok {
		return refuse("", "Could not find a controller named '%s'", f["storagectl"])
	}
	if f["type"] == "dvddrive" {
		m.CDs = append(m.CDs, f["medium"])
		return nil
	}
	id, err := r.open(f["medium"])
	m.Disks[fmt.Sprintf("%s-%s-%s", f["storagectl"], f["port"], f["device"])] = id
	return err
}

func (m *machine) running() bool {
	state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.PID))
	return m.PID != 0 && err == nil && !bytes.Contains(state, []byte(") Z "))
}

func (r *registry) show(uuid string, m *machine) error {
	state := "poweroff"
	if m.running() {
		state = "running"
	}
	fmt.Printf("name=%q\nEncryption:     disabled\nUUID=%q\nSnapFldr=%q\nmemory=%s\nfirmware=%q\ncpus=%s\nVMState=%q\nVMStateChangeTime=%q\n",
		m.Name, uuid, filepath.Join(m.Folder, "Snapshots"), m.Options["memory"], strings.ToUpper(m.Options["firmware"]), m.Options["cpus"], state, m.Changed)
	for slot, id := range m.Disks {
		name, at, _ := strings.Cut(slot, "-")
		fmt.Printf("%q=%q\n%q=%q\n", slot, r.Media[id].Path, name+"-ImageUUID-"+at, id)
	}
	return nil
}

func (m *machine) qmpPath() string { return filepath.Join(m.Folder, "qmp") }
func (m *machine) overlay() string {
	return filepath.Join(m.Folder, fmt.Sprintf("overlay%d.qcow2", m.Overlays))
}
func (m *machine) base(s string) string { return filepath.Join(m.Folder, "base-"+s+".raw") }

func qemuImg(args ...string) error {
	if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("qemu-img: %w: %s", err, out)
	}
	return nil
}

func (r *registry) start(m *machine) error {
	if m.running() {
		return refuse("VBOX_E_INVALID_OBJECT_STATE", "The machine '%s' is already locked by a session (or being locked or unlocked)", m.Name)
	}
	o := m.Options
	card := map[string]string{"virtio": "virtio-net-pci", "82540EM": "e1000", "Am79C973": "pcnet"}[o["nictype1"]]
	console := strings.TrimPrefix(o["uartmode1"], "file ")
	args := []string{
		"-machine", "pc", "-accel", "tcg", "-cpu", "max,la57=off", "-m", o["memory"], "-smp", o["cpus"], "-display", "none", "-nodefaults", "-vga", "std",
		"-qmp", "unix:" + m.qmpPath() + ",server=on,wait=off", "-serial", "file:" + console,
		"-netdev", "user,id=n", "-device", card + ",netdev=n",
	}
	for name, value := range m.Extra {
		if strings.HasSuffix(name, "DmiOEMVBoxVer") && len(value) <= 255 {
			args = append(args, "-smbios", "type=11,value="+strings.ReplaceAll(value, ",", ",,"))
		}
	}
	switch m.Buses[diskController] {
	case "sata":
		args = append(args, "-device", "ich9-ahci,id=bus", "-device", "ide-hd,drive=disk,bus=bus.0,bootindex=1")
	case "virtio":
		args = append(args, "-device", "virtio-scsi-pci,id=bus", "-device", "scsi-hd,drive=disk,bus=bus.0,bootindex=1")
	default:
		return fmt.Errorf("disks hang on %v", m.Buses)
	}
	for slot, id := range m.Disks {
		raw, err := r.raw(m.base(slot), id)
		if err != nil {
			return err
		}
		if err := errors.Join(raw.Close(), qemuImg("create", "-q", "-f", "qcow2", "-F", "raw", "-b", raw.Name(), m.overlay())); err != nil {
			return err
		}
		args = append(args, "-drive", "if=none,id=disk,format=qcow2,cache=unsafe,file="+m.overlay())
	}
	for i, cd := range m.CDs {
		args = append(args, "-drive", fmt.Sprintf("if=ide,index=%d,media=cdrom,readonly=on,format=raw,file=%s", i, cd))
	}
	cmd := exec.Command("qemu-system-x86_64", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	log, err := os.Create(filepath.Join(m.Folder, logName))
	if err != nil {
		return err
	}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		return err
	}
	m.PID = cmd.Process.Pid
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if c, err := net.Dial("unix", m.qmpPath()); err == nil {
			fmt.Printf("VM %q has been successfully started.\n", m.Name)
			return c.Close()
		}
		if !m.running() {
			break
		}
	}
	said, err := os.ReadFile(log.Name())
	return errors.Join(fmt.Errorf("QEMU: %s", said), err)
}

// qmp runs one command of QEMU's.
func (m *machine) qmp(command string, arguments map[string]any) error {
	c, err := net.Dial("unix", m.qmpPath())
	if err != nil {
		return err
	}
	defer c.Close()
	in, out := json.NewDecoder(c), json.NewEncoder(c)
	var greeting map[string]any
	if err := in.Decode(&greeting); err != nil {
		return err
	}
	for _, q := range []map[string]any{{"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}} {
		if err := out.Encode(q); err != nil {
			return err
		}
		for answered := false; !answered; {
			var answer struct {
				Return, Error json.RawMessage
			}
			if err := in.Decode(&answer); err != nil {
				return err
			}
			if answer.Error != nil {
				return fmt.Errorf("%s: %s", command, answer.Error)
			}
			answered = answer.Return != nil
		}
	}
	return nil
}

// snapshot seals what each disk has written, and saves a memory that nobody wants.
func (r *registry) snapshot(m *machine) error {
	for slot, id := range m.Disks {
		sealed := m.overlay()
		m.Overlays++
		if m.running() {
			if err := os.WriteFile(filepath.Join(m.Folder, "Snapshots", "2026-11-28T13-00-23-344469000Z.sav"), []byte("memory"), 0o600); err != nil {
				return err
			}
			if err := m.qmp("blockdev-snapshot-sync", map[string]any{"device": "disk", "snapshot-file": m.overlay(), "format": "qcow2"}); err != nil {
				return err
			}
		}
		if err := r.seal(m, slot, id, sealed); err != nil {
			return err
		}
		child, err := r.differ(filepath.Join(m.Folder, "Snapshots", "{"+hex.EncodeToString([]byte(slot))+fmt.Sprint(m.Overlays)+"}.vdi"), m.Disks[slot], nil, nil)
		if err != nil {
			return err
		}
		m.Disks[slot] = child
	}
	fmt.Println("Snapshot taken. UUID: 623c6f2f-fa9a-4864-a340-370289883f65")
	return nil
}

// seal writes what is in the overlay to the medium, which was empty.
func (r *registry) seal(m *machine, slot, id, overlay string) error {
	now := overlay + ".raw"
	if err := qemuImg("convert", "-U", "-O", "raw", overlay, now); err != nil {
		return err
	}
	defer os.Remove(now)
	before, err := os.Open(m.base(slot))
	if err != nil {
		return err
	}
	defer before.Close()
	after, err := os.Open(now)
	if err != nil {
		return err
	}
	defer after.Close()
	path, parent := r.Media[id].Path, r.Media[id].Parent
	delete(r.Media, id)
	// What was there before this machine's first start is the parent's.
	if m.Snapshots++; m.Snapshots > 1 {
		raw, err := r.raw(m.base("sealed"), parent)
		if err != nil {
			return err
		}
		defer raw.Close()
		before = raw
	}
	written, err := r.differ(path+".new", parent, before, after)
	if err != nil {
		return err
	}
	delete(r.Media, written)
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	h, err := vdi.HeaderOf(path)
	if err != nil {
		return err
	}
	r.Media[textID(h.ID)] = medium{Path: path, Parent: parent}
	m.Disks[slot] = textID(h.ID)
	return nil
}

func (r *registry) control(m *machine, words []string) error {
	if !m.running() {
		return refuse("", "Machine '%s' is not currently running.", m.Name)
	}
	switch words[0] {
	case "poweroff":
		p, err := os.FindProcess(m.PID)
		if err != nil {
			return err
		}
		err = p.Kill()
		for m.running() {
			time.Sleep(10 * time.Millisecond)
		}
		return err
	case "natpf1":
		if words[1] == "delete" {
			rule, ok := m.Rules[words[2]]
			if !ok {
				return refuse("NS_ERROR_INVALID_ARG", "Invalid argument value")
			}
			delete(m.Rules, words[2])
			return m.qmp("human-monitor-command", map[string]any{"command-line": "hostfwd_remove n " + rule})
		}
		rule := strings.Split(words[1], ",")
		if len(rule) != 6 {
			return fmt.Errorf("natpf1 %q", words)
		}
		if _, taken := m.Rules[rule[0]]; taken {
			return refuse("NS_ERROR_INVALID_ARG", "A NAT rule of this name already exists")
		}
		m.Rules[rule[0]] = strings.Join(rule[1:4], ":")
		return m.qmp("human-monitor-command", map[string]any{"command-line": fmt.Sprintf("hostfwd_add n %s:%s:%s-%s:%s", rule[1], rule[2], rule[3], rule[4], rule[5])})
	case "keyboardputscancode":
		for _, w := range words[1:] {
			if _, err := strconv.ParseUint(w, 16, 8); err != nil || len(w) != 2 {
				return refuse("", "'%s' is not a hex byte!", w)
			}
		}
		return nil
	}
	return fmt.Errorf("controlvm %q", words)
}
