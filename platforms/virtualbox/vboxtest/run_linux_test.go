package vboxtest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"bake.build/bake/internal/need"
	disks "bake.build/bake/internal/vdi"
)

// guest is a boot sector that writes BOOTED to the first serial port, then each key that
// is typed, which it also writes to the disk's second sector. At a ! it turns the machine
// off.
const guest = "\x31\xc0\x8e\xd8\x8e\xc0\x8e\xd0\xbc\x00\x7c\x88\x16\x00\x7f\xbe\x5c\x7c\xac\x08\xc0\x74\x05\xe8\x33\x00\xeb\xf6" +
	"\x30\xe4\xcd\x16\x3c\x21\x74\x1f\x3c\x0d\x75\x02\xb0\x0a\xe8\x20\x00\xa2\x00\x7e\xb8\x01\x03\xbb\x00\x7e\xb9\x02\x00\x30\xf6\x8a\x16\x00\x7f\xcd\x13\xeb\xd9" +
	"\xba\x04\x06\xb8\x00\x20\xef\xf4\xeb\xf6\x50\xba\xfd\x03\xec\xa8\x20\x74\xf8\x58\xba\xf8\x03\xee\xc3BOOTED\n\x00"

// bootDisk writes boot.raw, a disk with the guest.
func (r *replay) bootDisk() {
	r.t.Helper()
	disk := make([]byte, 8<<20)
	copy(disk, guest)
	copy(disk[510:], "\x55\xaa")
	if err := os.WriteFile(filepath.Join(r.home, "files", "boot.raw"), disk, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// await waits until the file holds the text.
func await(t *testing.T, path, text string) {
	t.Helper()
	for range 600 {
		got, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(got), text) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	got, err := os.ReadFile(path)
	t.Fatalf("%s lacks %q: %q, %v", path, text, got, err)
}

// second reads the second sector's first byte of the disk that media hold.
func second(t *testing.T, chain ...string) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := disks.ReadChain(t.Context(), f, chain, nil); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, 512); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// free returns a port that nothing has now.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return strings.TrimPrefix(l.Addr().String(), "127.0.0.1:")
}

// listening checks whether something takes connections at the address.
func listening(t *testing.T, address string, want bool) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err == nil {
		_ = conn.Close()
	}
	if (err == nil) != want {
		t.Errorf("%s: %v", address, err)
	}
}

// TestRun runs a machine: keys, the serial port, snapshots of what it has written, a
// saved state, ports that are taken, and an end of its own.
func TestRun(t *testing.T) {
	r := newReplay(t)
	r.bootDisk()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	port := strings.TrimPrefix(taken.Addr().String(), "127.0.0.1:")
	console := filepath.Join(r.home, "console")
	r.must("VBoxManage convertfromraw boot.raw base.vdi",
		"VBoxManage createvm --name run --ostype Linux_64 --register --basefolder "+r.home+"/vms",
		"VBoxManage modifyvm run --memory 64 --uart1 0x3f8 4 --uartmode1 file "+console+" --natpf1 ssh,tcp,127.0.0.1,"+port+",,22 --boot1 disk",
		"VBoxManage storagectl run --name SATA --add sata",
		"VBoxManage createmedium disk --filename top.vdi --diffparent base.vdi",
		"VBoxManage storageattach run --storagectl SATA --port 0 --device 0 --type hdd --medium top.vdi",
		"VBoxManage startvm run --type headless")
	await(t, console, "BOOTED")
	await(t, filepath.Join(r.home, "vms", "run", "Logs", "VBox.log"), "NAT: Failed to redirect TCP 127.0.0.1:"+port+" -> 0.0.0.0:22 (Address already in use)")
	if _, stderr, exit := r.run("VBoxManage modifyvm run --memory 128"); exit != "1" || !strings.Contains(stderr, "is already locked for a session") {
		t.Errorf("exit %s: %s", exit, stderr)
	}
	r.must("VBoxManage controlvm run keyboardputscancode 23 a3 17 97 02 82 1c 9c", `VBoxManage controlvm run keyboardputstring 'Hello, "World" /\-_=$A'`)
	await(t, console, "hi1\nHello, \"World\" /\\-_=$A")
	web := free(t)
	r.must("VBoxManage controlvm run natpf1 web,tcp,," + web + ",,80")
	listening(t, "127.0.0.1:"+web, true)
	listening(t, "127.0.0.2:"+web, false)
	r.must("VBoxManage controlvm run natpf1 delete web")
	listening(t, "127.0.0.1:"+web, false)
	r.must("VBoxManage snapshot run take one")
	base, top := filepath.Join(r.home, "files", "base.vdi"), filepath.Join(r.home, "files", "top.vdi")
	if got := second(t, base, top); got != "A" {
		t.Errorf("the sealed medium holds %q", got)
	}
	r.must("VBoxManage controlvm run keyboardputstring B")
	await(t, console, "$AB")
	r.must("VBoxManage controlvm run savestate", "VBoxManage startvm run --type headless", "VBoxManage controlvm run keyboardputstring C")
	await(t, console, "C")
	r.run("VBoxManage controlvm run keyboardputstring '!'") // it may be too slow for the release of the key
	for range 200 {
		if out, _, _ := r.run("VBoxManage list runningvms"); out == "" {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	out, _, _ := r.run("VBoxManage showvminfo run --machinereadable")
	now := regexp.MustCompile(`"SATA-0-0"="(.*)"`).FindStringSubmatch(out)
	if !strings.Contains(out, `VMState="poweroff"`) || now == nil {
		t.Fatalf("after its end:\n%s", out)
	}
	if got := second(t, base, top, now[1]) + second(t, base, top); got != "CA" {
		t.Errorf("the media hold %q", got)
	}
	if got := second(t, base); got != "\x00" {
		t.Errorf("the base was written to: %q", got)
	}
	// Back to the snapshot, with the memory of then.
	r.must("VBoxManage snapshot run restore one", "VBoxManage startvm run --type headless", "VBoxManage controlvm run keyboardputstring D")
	await(t, console, "D")
	if got, err := os.ReadFile(console); err != nil || strings.Contains(string(got), "BOOTED") {
		t.Errorf("it has booted anew: %q, %v", got, err)
	}
	r.must("VBoxManage controlvm run poweroff", "VBoxManage snapshot run delete one", "VBoxManage unregistervm run --delete")
}

// TestFaults has commands fail as a file says.
func TestFaults(t *testing.T) {
	r := newReplay(t)
	faults := filepath.Join(r.home, "faults")
	t.Setenv(FaultsEnv, faults)
	if err := os.WriteFile(faults, []byte("list vms: locked 2\nlist hdds: zero\nlist dvds: unknown\nlist extpacks: die"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ command, exit, says string }{
		{"list vms", "1", "already has a lock request pending"}, {"list vms", "1", "VBOX_E_INVALID_OBJECT_STATE"}, {"list vms", "0", ""},
		{"list hdds", "0", "VBoxManage: error: it did not work"}, {"list dvds", "1", "the moon"}, {"list extpacks", "1", "NS_ERROR_CALL_FAILED"},
	} {
		if _, stderr, exit := r.run("VBoxManage " + c.command); exit != c.exit || !strings.Contains(stderr, c.says) {
			t.Error(fmt.Sprint(c), exit, stderr)
		}
	}
}

// TestHardware boots from a disk on each kind of controller, beside each kind of card,
// and writes to it.
func TestHardware(t *testing.T) {
	need.Slow(t)
	r := newReplay(t)
	r.bootDisk()
	machines := []struct{ bus, controller, card string }{
		{"ide", "PIIX4", "82540EM"}, {"sata", "IntelAhci", "virtio"}, {"scsi", "LsiLogic", "82545EM"}, {"scsi", "BusLogic", "Am79C973"},
		{"sas", "LsiLogicSas", "82543GC"}, {"virtio", "VirtIO", "virtio"}, {"pcie", "NVMe", "82540EM"},
	}
	path := func(controller, name string) string { return filepath.Join(r.home, "vms", controller, name) }
	for _, m := range machines {
		r.must("VBoxManage createvm --name "+m.controller+" --ostype Linux_64 --register --basefolder "+r.home+"/vms",
			"VBoxManage convertfromraw boot.raw "+path(m.controller, "disk.vdi"),
			"VBoxManage modifyvm "+m.controller+" --memory 64 --nictype1 "+m.card+" --uart1 0x3f8 4 --uartmode1 file "+path(m.controller, "console")+" --boot1 disk",
			"VBoxManage storagectl "+m.controller+" --name 'a b' --add "+m.bus+" --controller "+m.controller,
			"VBoxManage storageattach "+m.controller+" --storagectl 'a b' --port 0 --device 0 --type hdd --medium "+path(m.controller, "disk.vdi"),
			"VBoxManage startvm "+m.controller+" --type headless")
	}
	for _, m := range machines {
		await(t, path(m.controller, "console"), "BOOTED")
		r.must("VBoxManage controlvm " + m.controller + " keyboardputstring x")
		await(t, path(m.controller, "console"), "x")
		r.must("VBoxManage controlvm " + m.controller + " poweroff")
		if got := second(t, path(m.controller, "disk.vdi")); got != "x" {
			t.Errorf("%s: the disk has %q", m.controller, got)
		}
	}
}
