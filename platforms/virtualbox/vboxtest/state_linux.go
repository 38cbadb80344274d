package vboxtest

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"bake.build/bake/internal/testqemu"
)

// A home is all that VirtualBox knows in a VBOX_USER_HOME.
type home struct {
	dir      string
	Folder   string // of machines
	Machines []*machine
	Media    []*medium
	Extra    map[string]string
}

// A machine is one that is registered.
type machine struct {
	UUID, File string
	settings
	State     string
	Changed   string
	Saved     string // file of a saved state
	Snapshots []*snapshot
	Current   string // UUID of the snapshot that the state is based on
	Props     map[string]property
	Running   *running
}

// settings are what a snapshot keeps of a machine.
type settings struct {
	Name        string
	Values      map[string]string // as showvminfo names them
	Rules       []string          // of NAT
	Extra       map[string]string
	Controllers []*controller
}

type controller struct {
	Name, Bus, Kind string
	Ports           int
	Bootable        string
	Slots           map[string]*slot // by "port-device"
}

// A slot has a medium, by its UUID; "" is a drive without one.
type slot struct {
	Medium string
	DVD    bool
}

type snapshot struct {
	UUID, Parent, Text string
	Saved              string
	settings
}

type property struct{ Value, Flags, Time string }

// A medium is a disk or a CD image that is registered.
type medium struct {
	UUID, Parent, Path, Format, Type string
	Variant                          string
	Capacity                         int64
	DVD                              bool
	Owner                            string // machine whose settings file lists it; "" for the home's
	Broken                           bool
}

// A running is what QEMU has of a machine's disks, by their slots.
type running struct {
	Disks    map[string]*live
	Overlays int
}

// A live is a disk in use: a raw copy of its medium, and what was written since, which
// is to get into the medium.
type live struct {
	Raw, Overlay, Node, Medium string
}

func load(dir string) (*home, error) {
	h := &home{dir: dir, Folder: filepath.Join(os.Getenv("HOME"), "VirtualBox VMs"), Extra: map[string]string{}}
	text, err := os.ReadFile(filepath.Join(dir, "VirtualBox.xml"))
	if errors.Is(err, os.ErrNotExist) {
		return h, nil
	} else if err != nil {
		return nil, err
	}
	if json.Unmarshal(text, h) != nil {
		return nil, brokenHome(dir)
	}
	return h, nil
}

// save writes the home's file and those of the machines.
func (h *home) save() error {
	for _, m := range h.Machines {
		if m.State == "inaccessible" {
			continue
		}
		if err := h.saveMachine(m); err != nil {
			return err
		}
	}
	return write(filepath.Join(h.dir, "VirtualBox.xml"), h)
}

// A file of a machine has its media beside it.
type vboxFile struct {
	Machine *machine
	Media   []*medium
}

func (h *home) saveMachine(m *machine) error {
	f := vboxFile{Machine: m}
	for _, d := range h.Media {
		if d.Owner == m.UUID {
			f.Media = append(f.Media, d)
		}
	}
	text, err := json.MarshalIndent(f, "", " ")
	if err != nil {
		return err
	}
	old, err := os.ReadFile(m.File)
	if err == nil && string(old) == string(text) {
		return nil
	} else if err == nil {
		if err := os.Rename(m.File, m.File+"-prev"); err != nil {
			return err
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(m.File, text, 0o600)
}

func write(path string, what any) error {
	text, err := json.MarshalIndent(what, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// reconcile finds machines that have ended or lost their files.
func (h *home) reconcile() error {
	for _, m := range h.Machines {
		if m.Running != nil {
			code, ended := h.qemu(m).Exit()
			if !ended {
				continue
			}
			state := "poweroff"
			if code != 0 {
				state = "aborted"
			}
			if err := h.ended(m, state); err != nil {
				return err
			}
		}
		if _, err := os.Stat(m.File); err != nil {
			m.State, m.Name = "inaccessible", "<inaccessible>"
		}
	}
	return nil
}

func (h *home) qemu(m *machine) testqemu.Machine {
	return testqemu.Machine{Dir: filepath.Join(h.dir, "run", m.UUID)}
}

func (m *machine) setState(state string) {
	m.State, m.Changed = state, time.Now().UTC().Format("2006-01-02T15:04:05.000")+"000000"
}

func (m *machine) folder() string { return filepath.Dir(m.File) }

func (m *machine) snapFolder() string { return filepath.Join(m.folder(), "Snapshots") }

// find returns a machine by its name or UUID.
func (h *home) find(name string, at where) (*machine, error) {
	for _, m := range h.Machines {
		if m.UUID == strings.ToLower(strings.Trim(name, "{}")) || m.Name == name && m.State != "inaccessible" {
			return m, nil
		}
	}
	return nil, unknown(name, at)
}

func (h *home) medium(uuid string) *medium {
	for _, d := range h.Media {
		if d.UUID == uuid {
			return d
		}
	}
	return nil
}

// chain lists the medium and its parents.
func (h *home) chain(d *medium) (all []*medium) {
	for ; d != nil; d = h.medium(d.Parent) {
		all = append(all, d)
	}
	return all
}

// base is the oldest of the medium's parents.
func (h *home) base(d *medium) *medium {
	all := h.chain(d)
	return all[len(all)-1]
}

func (h *home) children(d *medium) (all []*medium) {
	for _, c := range h.Media {
		if c.Parent == d.UUID {
			all = append(all, c)
		}
	}
	return all
}

// users are the machines that have the medium now, and those of whose snapshots one has.
func (h *home) users(d *medium) (now []*machine, all []*machine) {
	for _, m := range h.Machines {
		if m.has(d.UUID) {
			now = append(now, m)
		}
		if m.has(d.UUID) || slices.ContainsFunc(m.Snapshots, func(s *snapshot) bool { return s.has(d.UUID) }) {
			all = append(all, m)
		}
	}
	return now, all
}

func (s *settings) has(uuid string) bool {
	for _, c := range s.Controllers {
		for _, slot := range c.Slots {
			if slot.Medium == uuid {
				return true
			}
		}
	}
	return false
}

// clone returns settings that have nothing in common with s.
func (s settings) clone() settings {
	s.Values, s.Extra, s.Rules = maps.Clone(s.Values), maps.Clone(s.Extra), slices.Clone(s.Rules)
	var all []*controller
	for _, c := range s.Controllers {
		n := *c
		n.Slots = map[string]*slot{}
		for at, what := range c.Slots {
			copied := *what
			n.Slots[at] = &copied
		}
		all = append(all, &n)
	}
	s.Controllers = all
	return s
}

var uuidForm = regexp.MustCompile(`^\{?[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\}?$`)

func isUUID(s string) bool { return uuidForm.MatchString(s) }

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func newMAC() string {
	var b [3]byte
	_, _ = rand.Read(b[:])
	return fmt.Sprintf("080027%X", b[:])
}
