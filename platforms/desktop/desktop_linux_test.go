package desktop

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
	"bake.build/bake/platforms/ssh"
)

// TestConformance runs the suite of drivers.
func TestConformance(t *testing.T) {
	need.Slow(t)
	w := newWorld(t, Options{})
	platformtest.Run(t, platformtest.Harness{
		Driver: w.driver, First: w.first, NoIsolation: true, NoRestart: true, Shared: true,
		Dir: func(t *testing.T) string { return t.TempDir() },
	})
}

// TestMachine has a machine that is as its layer's origin says, where the options do not
// say otherwise, and that is in the ledger as long as it is there.
func TestMachine(t *testing.T) {
	w := newWorld(t, Options{Hardware: &hardware.Options{CPUs: 1, NIC: "virtio"}, NIC: "e1000"})
	m, err := w.driver.Boot(t.Context(), []platforms.Layer{w.first}, platformtest.TestLog{T: t})
	if err != nil {
		t.Fatal(err)
	}
	v := w.toy.vms[m.(*handle).dir]
	if h := v.spec.Hardware; h.CPUs != 1 || h.Memory != "512M" || h.NIC != "e1000" || h.DiskBus != "sata" {
		t.Errorf("the machine has %+v", h)
	}
	if open := w.host.Left(); len(open) != 1 || open[0].ID != v.spec.Dir || open[0].Kind != kindMachine || open[0].Platform != "toy" {
		t.Errorf("the ledger has %v", open)
	}
	below := v.spec.Disks[0].Media
	if len(below) != 1 || below[0] != filepath.Join(v.spec.Dir, "disk0-0.toy") || v.spec.Disks[0].Own {
		t.Errorf("the disk is %+v", v.spec.Disks)
	}
	same, err := os.Stat(below[0])
	if err != nil {
		t.Fatal(err)
	}
	if layer, err := os.Stat(filepath.Join(w.first.Dir, "disk0.toy")); err != nil || !os.SameFile(layer, same) {
		t.Errorf("the layer's medium is not linked: %v", err)
	}
	if err := errors.Join(m.Close(), m.Close(), w.driver.Close()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(v.spec.Dir); !os.IsNotExist(err) {
		t.Errorf("the machine's directory is left: %v", err)
	}
}

// TestDisk shuts a machine down before its disk is read, and starts none for a disk that
// nothing was done with.
func TestDisk(t *testing.T) {
	w := newWorld(t, Options{})
	chain := []platforms.Layer{w.first}
	if err := os.WriteFile(filepath.Join(w.first.Dir, untouchedName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	untouched := filepath.Join(t.TempDir(), "untouched.raw")
	if err := w.driver.Disk(t.Context(), chain, untouched, platformtest.TestLog{T: t}); err != nil || w.toy.removed != 0 {
		t.Errorf("%v, and %d machines were started", err, w.toy.removed)
	}
	if err := os.Remove(filepath.Join(w.first.Dir, untouchedName)); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "disk.raw")
	if err := w.driver.Disk(t.Context(), chain, disk, platformtest.TestLog{T: t}); err != nil || w.toy.removed != 1 {
		t.Errorf("%v, and %d machines were removed", err, w.toy.removed)
	}
	if info, err := os.Stat(disk); err != nil || info.Size() == 0 {
		t.Errorf("the disk: %v, %v", info, err)
	}
}

// TestParked takes over the machine that made a layer, until something ran in it.
func TestParked(t *testing.T) {
	w := newWorld(t, Options{})
	boot := func(chain ...platforms.Layer) *handle {
		t.Helper()
		m, err := w.driver.Boot(t.Context(), chain, platformtest.TestLog{T: t})
		if err != nil {
			t.Fatal(err)
		}
		return m.(*handle)
	}
	m := boot(w.first)
	layer := platforms.Layer{Key: "one", Dir: t.TempDir()}
	made, err := m.Commit(t.Context(), platforms.State{Key: "one", Dir: layer.Dir, Needed: true})
	if err != nil {
		t.Fatal(err)
	}
	layer.Ref = made.Ref
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := m.Run(t.Context(), platforms.Cmd{Args: []string{"true"}}); !errors.Is(err, errClosed) {
		t.Errorf("a machine that is closed runs a command: %v", err)
	}
	same := boot(w.first, layer)
	if same.machine != m.machine {
		t.Error("another machine was started")
	}
	if err := errors.Join(same.Run(t.Context(), platforms.Cmd{Args: []string{"true"}}), same.Close()); err != nil {
		t.Fatal(err)
	}
	other := boot(w.first, layer)
	if other.machine == m.machine {
		t.Error("a machine that differs from the layer was taken over")
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
}

// TestCollect ends what a build has left that was killed, once in each state: with a
// machine, with a directory alone, and with neither.
func TestCollect(t *testing.T) {
	w := newWorld(t, Options{})
	m, err := w.driver.Boot(t.Context(), []platforms.Layer{w.first}, platformtest.TestLog{T: t})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Run(t.Context(), platforms.Cmd{Args: []string{"true"}}); err != nil { // not to be parked
		t.Fatal(err)
	}
	defer m.Close()
	left := w.host.Left()[0]
	if text := resourceJSON(t, left); strings.Contains(text, "ssh-") {
		t.Errorf("the record has more than is needed: %s", text)
	}
	for i, want := range []bool{true, false} {
		got, err := w.driver.Collect(t.Context(), left)
		if err != nil || got.Removed != want {
			t.Errorf("collected for the time %d: %+v, %v", i+1, got, err)
		}
	}
	alone := platforms.Resource{Kind: kindMachine, ID: filepath.Join(t.TempDir(), "machine")}
	if err := os.Mkdir(alone.ID, 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := w.driver.Collect(t.Context(), alone); err != nil || !got.Removed {
		t.Errorf("a directory alone: %+v, %v", got, err)
	}
}

// TestFailures has the hypervisor fail: nothing is left.
func TestFailures(t *testing.T) {
	w := newWorld(t, Options{Login: ssh.Login{BootTimeout: "2s"}})
	w.toy.fails = errors.New("no space")
	if _, err := w.driver.Boot(t.Context(), []platforms.Layer{w.first}, platformtest.TestLog{T: t}); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("a machine that cannot be made: %v", err)
	}
	w.toy.fails, w.toy.keys = nil, "none"
	if _, err := w.driver.Boot(t.Context(), []platforms.Layer{w.first}, platformtest.TestLog{T: t}); err == nil || !strings.Contains(err.Error(), "booted") {
		t.Errorf("a machine that lets nobody in: %v", err)
	}
	if _, err := w.driver.Launch(t.Context(), platforms.Image{Path: "/x.raw", Format: "raw", Arch: "arm64"}, platformtest.TestLog{T: t}); err == nil || !strings.Contains(err.Error(), "machines are amd64") {
		t.Errorf("an image of another architecture: %v", err)
	}
}

// TestInstall has an installer fill an empty disk: it is told what to do by keys, and its
// CDs are behind the disk in the order of devices.
func TestInstall(t *testing.T) {
	w := newWorld(t, Options{DiskSize: "1M", Firmware: "uefi"})
	iso := filepath.Join(t.TempDir(), "installer.iso")
	if err := os.WriteFile(iso, []byte("CD"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := platforms.Origin{
		Kind: "iso", Paths: map[string]string{"iso": iso},
		Options: json.RawMessage(`{"boot_command": ["go<enter>"], "boot_wait": "10ms", "cd_files": {"user-data": "x"}}`),
	}
	dir := t.TempDir()
	made, err := w.driver.Import(t.Context(), o, dir, platformtest.TestLog{T: t})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "disk0.toy")); err != nil || string(text) != "installed by g o ret " {
		t.Errorf("the disk has %q, %v", text, err)
	}
	if a, err := readAbout(dir); err != nil || a.Disks != 1 || a.Hardware.Firmware != "uefi" || made.Boot != "uefi" {
		t.Errorf("the layer is of %+v, %v, %+v", a, err, made)
	}
	if s := w.toy.last; len(s.CDs) != 2 || s.CDs[0] != iso || strings.Join(s.Boot, " ") != "disk cd" || !s.Disks[0].Own || s.OEM != "" {
		t.Errorf("the machine was %+v", s)
	}
	o.Options = json.RawMessage(`{"boot_command": ["go"], "boot_wait": "10ms", "install_timeout": "300ms"}`)
	if _, err := w.driver.Import(t.Context(), o, t.TempDir(), platformtest.TestLog{T: t}); err == nil || !strings.Contains(err.Error(), "the installer has not ended within 300ms") {
		t.Errorf("an installer that waits for ever: %v", err)
	}
}

// TestOptions refuses options that make no sense, and has only those in the fingerprint
// that change what is made.
func TestOptions(t *testing.T) {
	for want, o := range map[string]Options{
		"memory":       {Memory: "3M"},
		"disk_size":    {DiskSize: "1000"},
		"guest_os":     {GuestOS: "debain12"},
		"boot_command": {BootCommand: []string{"<nokey>"}},
		"max_machines": {MaxMachines: -1},
	} {
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	print := func(o Options) string {
		s, err := o.settings()
		if err != nil {
			t.Fatal(err)
		}
		text, err := s.fingerprint("toy")
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	base := print(Options{})
	if print(Options{Memory: "2G", CPUs: 4, GUI: true, MaxMachines: 5}) != base {
		t.Error("how much a machine has changes the keys of layers")
	}
	for _, o := range []Options{{DiskBus: "ide"}, {NIC: "virtio"}, {Firmware: "uefi"}, {DiskSize: "9G"}, {Hardware: &hardware.Options{SecureBoot: true}}} {
		if print(o) == base {
			t.Errorf("%+v does not change the keys of layers", o)
		}
	}
}
