package vmware

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/need"
	"bake.build/bake/platforms/desktop"
	"bake.build/bake/platforms/installer"
)

// typewriter is a boot sector that writes ">" to the serial port, and then each key.
var typewriter = []byte{
	0xb0, '>', // mov al, '>'
	0xba, 0xf8, 0x03, // mov dx, 0x3f8
	0xee,       // out dx, al
	0x30, 0xe4, // xor ah, ah
	0xcd, 0x16, // int 0x16: wait for a key
	0xeb, 0xf9, // jmp to out
}

// newTypewriter makes a machine of the stand-in's that starts the boot sector.
func newTypewriter(t *testing.T) (v *vm, chain []string, faults string) {
	t.Helper()
	need.Root(t) // the machine's address has ports below 1024
	need.Tool(t, "qemu-system-x86_64", "qemu-img")
	leases, faults := install(t)
	dir, err := os.MkdirTemp("", "vw")
	if err != nil {
		t.Fatal(err)
	}
	h := newHypervisor(Options{Leases: leases})
	t.Cleanup(func() {
		if _, err := h.Remove(context.Background(), dir); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	raw := filepath.Join(dir, "raw")
	sector := make([]byte, 1<<20)
	copy(sector, typewriter)
	copy(sector[510:], []byte{0x55, 0xaa})
	if err := os.WriteFile(raw, sector, 0o600); err != nil {
		t.Fatal(err)
	}
	chain = []string{filepath.Join(dir, "disk0-0.vmdk")}
	if err := desktop.WriteMedium(t.Context(), h.Media(), chain[0], raw); err != nil {
		t.Fatal(err)
	}
	made, err := h.Create(t.Context(), desktop.Spec{
		Dir: dir, Name: "machine", Hardware: hardware.Options{Memory: "64M", DiskBus: "ide", NIC: "e1000", CPUs: 1}.Described(false),
		Disks: []desktop.Disk{{Media: chain}}, Boot: []string{"disk"}, Console: filepath.Join(dir, "console"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return made.(*vm), chain, faults
}

// awaitConsole waits until the machine has written the text, and nothing else.
func awaitConsole(t *testing.T, v *vm, want string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		got, err := os.ReadFile(v.spec.Console)
		if string(got) == want {
			return
		}
		if err != nil && !os.IsNotExist(err) || time.Now().After(end) {
			t.Fatalf("the console has %q, %v; want %q", got, err, want)
		}
	}
}

// TestTyping types on a machine's keyboard, which has a password.
func TestTyping(t *testing.T) {
	v, _, _ := newTypewriter(t)
	if err := v.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	const text = `Hello, "World" /\-_=$|:;`
	strokes, err := installer.ParseKeys([]string{text + "<enter>"}, "")
	if err != nil {
		t.Fatal(err)
	}
	awaitConsole(t, v, ">")
	for _, s := range strokes {
		if err := v.Type(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		time.Sleep(installer.KeyDown)
	}
	awaitConsole(t, v, ">"+text+"\r")
	v.screen.password = "wrong"
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := v.Type(ctx, strokes[0]); err == nil || !strings.Contains(err.Error(), "refuses the password") {
		t.Errorf("with another password: %v", err)
	}
}

// TestVM has a machine change its disks for new ones while it runs, be reached, and end.
func TestVM(t *testing.T) {
	v, chain, faults := newTypewriter(t)
	ctx := t.Context()
	runs := func(want bool) {
		t.Helper()
		if got, err := v.Running(ctx); err != nil || got != want {
			t.Errorf("runs: %v, %v; want %v", got, err, want)
		}
	}
	runs(false)
	if err := v.Stop(ctx); err != nil {
		t.Errorf("a machine that does not run is stopped: %v", err)
	}
	fault := func(what string) {
		t.Helper()
		if err := os.WriteFile(faults, []byte(what), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fault("start: locked 2")
	if err := v.Start(ctx); err != nil {
		t.Fatal(err)
	}
	runs(true)
	address, err := v.Reach(ctx, 22)
	if err != nil || !strings.HasPrefix(address, "127.89.") || !strings.HasSuffix(address, ":22") {
		t.Errorf("reached at %q, %v", address, err)
	}
	leases := v.h.leases
	v.h.leases = nil // the tools tell
	if told, err := v.Reach(ctx, 80); err != nil || told != strings.TrimSuffix(address, ":22")+":80" {
		t.Errorf("reached at %q, %v", told, err)
	}
	v.h.leases = leases
	for what, want := range map[string]string{
		"snapshot: die":     "vmrun snapshot: exit status 139",
		"snapshot: unknown": "vmrun snapshot: Unknown error",
		"snapshot: silent":  "vmrun snapshot: The operation was canceled",
		"list: unknown":     "",
	} {
		fault(what)
		if _, err := v.Freeze(ctx); want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", what, err)
		} else if want == "" && err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := os.Remove(faults); err != nil {
		t.Fatal(err)
	}
	sealed, err := v.Freeze(ctx)
	if err != nil || len(sealed) != 1 {
		t.Fatalf("sealed %q, %v", sealed, err)
	}
	left, err := filepath.Glob(filepath.Join(v.dir, "*.vmem"))
	if err != nil || len(left) > 0 {
		t.Errorf("saved memory is left: %q, %v", left, err)
	}
	runs(true)
	if _, err := os.Stat(sealed[0]); err != nil || sealed[0] == chain[0] {
		t.Errorf("sealed %q, %v", sealed[0], err)
	}
	for i, want := range []bool{true, true} { // what lies in the directory is the caller's
		if found, err := v.h.Remove(ctx, v.dir); err != nil || found != want {
			t.Errorf("removed for the time %d: %v, %v", i+1, found, err)
		}
		runs(false)
	}
}

// TestChain starts a machine on what two others have sealed, which ask for what is below
// them by names that are not those of the machine's own directory.
func TestChain(t *testing.T) {
	v, chain, _ := newTypewriter(t)
	if err := v.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		sealed, err := v.Freeze(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, sealed...)
	}
	if err := v.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		dir, err := os.MkdirTemp("", "vw")
		if err != nil {
			t.Fatal(err)
		}
		var media []string
		for i, path := range chain {
			media = append(media, filepath.Join(dir, fmt.Sprintf("disk0-%d.vmdk", i)))
			if err := os.Link(path, media[i]); err != nil {
				t.Fatal(err)
			}
		}
		s := v.spec
		s.Dir, s.Console, s.Disks = dir, filepath.Join(dir, "console"), []desktop.Disk{{Media: media}}
		made, err := v.h.Create(t.Context(), s)
		t.Cleanup(func() {
			if _, err := v.h.Remove(context.Background(), dir); err != nil {
				t.Error(err)
			}
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		})
		if err == nil {
			err = made.Start(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		awaitConsole(t, made.(*vm), ">")
		sealed, err := made.Freeze(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, sealed...)
	}
	if err := desktop.ReadMedia(t.Context(), v.h.Media(), chain, filepath.Join(v.dir, "whole"), nil); err != nil {
		t.Error(err)
	}
	whole, err := os.ReadFile(filepath.Join(v.dir, "whole"))
	if err != nil || !bytes.HasPrefix(whole, typewriter) {
		t.Errorf("the disk begins with %x, %v", whole[:min(len(whole), 16)], err)
	}
}

// TestKilled ends a machine whose vmrun hangs.
func TestKilled(t *testing.T) {
	v, _, faults := newTypewriter(t)
	if err := v.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(faults, []byte("stop: unknown"), 0o600); err != nil {
		t.Fatal(err)
	}
	if found, err := v.h.Remove(t.Context(), v.dir); err != nil || !found {
		t.Errorf("removed: %v, %v", found, err)
	}
	if got, err := v.Running(t.Context()); err != nil || got {
		t.Errorf("runs: %v, %v", got, err)
	}
}
