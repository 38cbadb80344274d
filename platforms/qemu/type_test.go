package qemu

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/installer"
	"bake.build/bake/platforms/platformtest"
)

// echoDisk is a disk whose boot sector writes the letters that are typed to the
// serial port, as the BIOS gives them.
func echoDisk() []byte {
	disk := make([]byte, 1<<20)
	copy(disk, "\xba\xf8\x03"+ // mov dx, 0x3f8
		"\xb0>\xee\xb0\n\xee"+ // mov al, '>'; out dx, al; the same with a newline
		"\x31\xc0\xcd\x16"+ // again: xor ax, ax; int 0x16
		"\xba\xf8\x03\xee"+ // mov dx, 0x3f8; out dx, al
		"\xeb\xf6") // jmp again
	disk[510], disk[511] = 0x55, 0xaa
	return disk
}

// TestType types into a machine whose BIOS says which letters it was given.
func TestType(t *testing.T) {
	need.Tool(t, "qemu-system-x86_64", "qemu-img")
	path := filepath.Join(t.TempDir(), "echo.raw")
	if err := os.WriteFile(path, echoDisk(), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, host: host{dir: t.TempDir()}}
	d := w.open(func(o *Options) { o.Memory, o.CPUs = "64M", 1 })
	m, err := d.Launch(t.Context(), platforms.Image{Path: path, Format: "raw", NoLogin: true}, platformtest.TestLog{T: t})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	console := m.(*machine).vm.console
	if err := console.Wait(t.Context(), regexp.MustCompile(">")); err != nil {
		t.Fatal(err)
	}
	strokes, err := installer.ParseKeys([]string{"aB<leftCtrlOn>gg<leftCtrlOff>g<leftCtrl+g><leftShiftOn>z<leftShiftOff>z."}, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := installer.Type(t.Context(), m.(*machine).vm, strokes); err != nil {
		t.Fatal(err)
	}
	if err := console.Wait(t.Context(), regexp.MustCompile(`\.`)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(console.Text(), []byte("aB\a\ag\aZz.")) {
		t.Errorf("the machine was typed %q", console.Text())
	}
}

// TestBootCommand types at each start of a machine, as a disk asks for its passphrase.
func TestBootCommand(t *testing.T) {
	need.Tool(t, "qemu-system-x86_64", "qemu-img")
	path := filepath.Join(t.TempDir(), "echo.raw")
	if err := os.WriteFile(path, echoDisk(), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, host: host{dir: t.TempDir()}}
	d := w.open(func(o *Options) {
		o.Memory, o.CPUs, o.BootCommand, o.BootWait = "64M", 1, []string{"Pass phrase<enter>"}, "5s"
	})
	m, err := d.Launch(t.Context(), platforms.Image{Path: path, Format: "raw", NoLogin: true}, platformtest.TestLog{T: t})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	v := m.(*machine).vm
	if err := v.console.Wait(t.Context(), regexp.MustCompile("ss phrase")); err != nil {
		t.Fatal(err)
	}
	if err := v.qmp.Run(t.Context(), "system_reset", nil, nil); err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		n := bytes.Count(v.console.Text(), []byte("phrase"))
		if n == 2 {
			return
		}
		if time.Since(begin) > time.Minute {
			t.Fatalf("typed %d times: %q", n, v.console.Tail())
		}
	}
}
