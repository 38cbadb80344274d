package qemu

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	virtual "bake.build/bake/internal/hardware"
	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
)

// TestUEFI starts a machine with all that most do without: UEFI, a TPM, a second
// disk, and a user whom sudo asks for a password.
func TestUEFI(t *testing.T) {
	need.Tool(t, "swtpm", "mkfs.xfs", "grub-fstest")
	need.File(t, "/usr/share/OVMF/OVMF_CODE.fd")
	w := newWorld(t, func(o *Options) {
		o.Hardware = &virtual.Options{Firmware: "uefi", TPM: true}
		o.Disks = []string{"320M"}
		o.User, o.Password, o.SudoPassword = "bob", "secret", "secret"
	})
	formatDisk(t, filepath.Join(w.first.Dir, diskName(1)), "mkfs.xfs", "-q")
	m := w.boot(w.driver)
	for what, script := range map[string]string{
		"no UEFI":        "test -d /sys/firmware/efi",
		"no TPM":         "test -e /sys/firmware/acpi/tables/TPM2",
		"not root":       "test $(id -u) = 0",
		"no second disk": "test $(cat /sys/block/vdb/size) = 655360",
	} {
		if out := sh(t, m, script+" || echo missing"); out != "" {
			t.Error(what)
		}
	}
	plain := w.commit(m, "0")
	if path, err := w.driver.Variables([]platforms.Layer{w.first, plain}); path != "" || err != nil {
		t.Errorf("variables of a machine that has set none: %q, %v", path, err)
	}
	sh(t, m, `printf '\a\0\0\0of the machine' >/sys/firmware/efi/efivars/Mine-8be4df61-93ca-11d2-aa0d-00e098032b8d`)
	// A commit without the guest agent leaves an XFS that is in use so that GRUB, which
	// does not read logs, finds what is in it.
	sh(t, m, "mkdir -p /data && mount /dev/vdb /data && echo data >/data/new && mv /data/new /data/file")
	layer := w.commit(m, "1")
	sh(t, m, "echo more >/data/more")
	for _, name := range []string{diskName(0), diskName(1), varsName} {
		if _, err := os.Stat(filepath.Join(layer.Dir, name)); err != nil {
			t.Error(err)
		}
	}
	if entries, err := os.ReadDir(filepath.Join(w.host.dir, "cache", "qemu-memory")); err == nil && len(entries) > 0 {
		t.Error("the memory of a machine that was told a password is kept")
	}
	testVariables(t, w, []platforms.Layer{w.first, plain, layer})
	raw := filepath.Join(t.TempDir(), "second.raw")
	if err := w.driver.FurtherDisk(t.Context(), []platforms.Layer{w.first, plain, layer}, 1, raw, platformtest.TestLog{T: t}); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("grub-fstest", raw, "cat", "(loop0)/file").CombinedOutput(); err != nil || string(out) != "data\n" {
		t.Errorf("GRUB reads %q from the second disk: %v", out, err)
	}
}

// testVariables starts a machine with the variables that another one has set.
func testVariables(t *testing.T, w *world, chain []platforms.Layer) {
	path, err := w.driver.Variables(chain)
	if path == "" || err != nil {
		t.Fatalf("no variables: %v", err)
	}
	i := platforms.Image{Path: filepath.Join(t.TempDir(), "disk.raw"), Format: "raw", NoLogin: true, Variables: path}
	if err := os.WriteFile(i.Path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	d := w.open() // which has BIOS for machines of its own
	m, err := d.Launch(t.Context(), i, platformtest.TestLog{T: t})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(m.(*machine).vm.path(varsName))
	if err != nil || !bytes.Contains(b, []byte("of the machine")) {
		t.Errorf("the machine does not have the variables: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	i.Variables = i.Path
	_, err = d.Launch(t.Context(), i, platformtest.TestLog{T: t})
	says(t, err, "the variable store", "has 1048576 bytes, and the firmware")
}

// formatDisk makes a file system on the empty disk in a qcow2 image.
func formatDisk(t *testing.T, path string, mkfs ...string) {
	t.Helper()
	size, err := virtualSize(path)
	if err != nil {
		t.Fatal(err)
	}
	raw := filepath.Join(t.TempDir(), "formatted.raw")
	if err := errors.Join(os.WriteFile(raw, nil, 0o600), os.Truncate(raw, size)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs[0], append(mkfs[1:], raw)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", mkfs, err, out)
	}
	if err := qemuImg(t.Context(), nil, "convert", "-f", "raw", "-O", "qcow2", raw, path); err != nil {
		t.Fatal(err)
	}
}

// TestFirmware starts machines of arm64, and with Secure Boot: their firmware finds
// nothing on an empty disk, and says so.
func TestFirmware(t *testing.T) {
	need.Slow(t)
	need.Tool(t, "qemu-system-aarch64", "qemu-system-x86_64", "qemu-img")
	need.File(t, "/usr/share/AAVMF/AAVMF_CODE.fd")
	need.File(t, "/usr/share/OVMF/OVMF_VARS_4M.ms.fd")
	w := &world{t: t, host: host{dir: t.TempDir()}}
	disk := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{Arch: "arm64"}, {Arch: "amd64", Hardware: &virtual.Options{SecureBoot: true}}} {
		d := w.open(func(all *Options) { all.Arch, all.Hardware = o.Arch, o.Hardware })
		m, err := d.Launch(t.Context(), platforms.Image{Path: disk, Format: "raw", Arch: o.Arch, NoLogin: true}, platformtest.TestLog{T: t})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		c := m.(platforms.Consoler)
		if err := c.WaitConsole(ctx, regexp.MustCompile(`BdsDxe|UEFI Interactive Shell|PXE`)); err != nil {
			t.Errorf("%s: %v: %q", o.Arch, err, c.ConsoleTail())
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	w.host.nothingLeft(t)
}
