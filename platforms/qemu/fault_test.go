package qemu

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/hypervisor"
	"bake.build/bake/platforms/platformtest"
)

// fails runs a script that must fail with an error that says all of want.
func fails(t *testing.T, m platforms.Machine, script string, want ...string) {
	t.Helper()
	var out safeBuffer
	says(t, m.Run(t.Context(), platforms.Cmd{Args: []string{"sh", "-c", script}, Stdout: &out, Stderr: &out}), want...)
}

func says(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	t.Logf("the error: %v", err)
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not say %q", w)
		}
	}
}

// nothingLeft checks that no process, and no file in the host's directory for
// passing things, is left.
func (h host) nothingLeft(t *testing.T) {
	t.Helper()
	left, err := os.ReadDir(filepath.Join(h.dir, "tmp"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range left {
		t.Errorf("%s is left", e.Name())
	}
	if out, err := exec.Command("pgrep", "-a", "-f", h.dir).Output(); err == nil {
		t.Errorf("processes are left:\n%s", out)
	}
}

// testMishaps has things go wrong in a machine in the middle of a step. Every
// machine is resumed from the same layer.
func testMishaps(t *testing.T, w *world) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, m *machine)
	}{
		{"the guest restarts", func(t *testing.T, m *machine) {
			fails(t, m, "sleep 1; echo b >/proc/sysrq-trigger; sleep 60", "the machine restarted while the command ran")
		}},
		{"the kernel panics", func(t *testing.T, m *machine) {
			fails(t, m, "sleep 1; echo c >/proc/sysrq-trigger; sleep 60", "kernel panicked: sysrq triggered crash", "console's last lines", "Kernel panic")
		}},
		{"the guest shuts down", func(t *testing.T, m *machine) {
			fails(t, m, "sleep 1; echo o >/proc/sysrq-trigger; sleep 60", "the machine was shut down")
		}},
		{"the guest's disk is full", func(t *testing.T, m *machine) {
			var out safeBuffer
			script := `fallocate -l $(($(df --output=avail -k / | tail -1) - 20000))K /most; dd if=/dev/zero of=/rest bs=1M`
			err := m.Run(t.Context(), platforms.Cmd{Args: []string{"sh", "-c", script}, Stdout: &out, Stderr: &out})
			if err == nil || !strings.Contains(out.String(), "No space left on device") {
				t.Errorf("error %v, output:\n%s", err, out.String())
			}
			sh(t, m, "rm -f /most /rest; echo more >/more")
			after := w.commit(m, "after")
			if got := sh(t, m, "cat /more"); got != "more" || after.Ref == "" {
				t.Errorf("after the commit: %q", got)
			}
		}},
		{"QEMU is killed", func(t *testing.T, m *machine) {
			time.AfterFunc(time.Second, func() { _ = m.vm.process.Process.Kill() })
			fails(t, m, "sleep 60", "QEMU was ended by a signal: killed")
			if _, err := m.Commit(t.Context(), platforms.State{Dir: w.layerDir(), Needed: true}); err == nil {
				t.Error("a dead machine was committed")
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := w.boot(w.driver)
			c.run(t, m)
			if err := m.Close(); err != nil {
				t.Error(err)
			}
			if err := w.driver.parked.Close(); err != nil {
				t.Error(err)
			}
			w.driver.parked = hypervisor.Parking[*machine]{}
			w.host.nothingLeft(t)
		})
	}
	t.Run("the host's disk is full", func(t *testing.T) {
		small := filepath.Join(t.TempDir(), "small")
		if err := os.Mkdir(small, 0o700); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=32m", "bake-test", small).CombinedOutput(); err != nil {
			t.Fatalf("mount: %v\n%s", err, out)
		}
		defer func() {
			if out, err := exec.Command("umount", small).CombinedOutput(); err != nil {
				t.Errorf("umount: %v\n%s", err, out)
			}
		}()
		d := w.open()
		d.host = tight{w.host, host{dir: small}}
		m := w.boot(d)
		fails(t, m, "dd if=/dev/urandom of=/big bs=1M count=64; sync; sleep 60", "the host's disk is full", small)
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		host{dir: small}.nothingLeft(t)
	})
	t.Run("the layer is whole", func(t *testing.T) {
		m := w.boot(w.driver)
		if got := sh(t, m, "cat /state /root/of-it"); got != "whole\nenough" {
			t.Errorf("got %q", got)
		}
	})
}

// tight is a host whose temporary directories lie elsewhere.
type tight struct {
	host
	tmp host
}

func (h tight) TempDir(prefix string) (string, func() error, error) { return h.tmp.TempDir(prefix) }

// TestUnreachable starts machines that bake never gets into, all at once: it waits for them.
func TestUnreachable(t *testing.T) {
	need.Slow(t)
	need.Tool(t, "qemu-system-x86_64", "qemu-img")
	for _, c := range []struct {
		name, code string
		options    func(*Options)
		want       []string
	}{
		{name: "a disk that does not boot", code: "\xf4\xeb\xfd", // halt: hlt; jmp halt
			want: []string{"waited 6s for an SSH server at 127.0.0.1:"}},
		{name: "a system without SSH", code: helloSector,
			want: []string{"waited 6s for an SSH server at 127.0.0.1:", "console's last lines", "hello"}},
		{name: "arguments that QEMU refuses", options: func(o *Options) { o.Args = []string{"-machine", "no-such-machine"} },
			want: []string{"QEMU: unsupported machine type"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := &world{t: t, host: host{dir: t.TempDir()}}
			disk := diskWithCode(t, c.code)
			w.driver = w.open(func(o *Options) {
				o.BootTimeout, o.Memory = "6s", "64M"
				if c.options != nil {
					c.options(o)
				}
			})
			first := w.imported(disk)
			_, err := w.driver.Boot(t.Context(), []platforms.Layer{first}, platformtest.TestLog{T: t})
			says(t, err, c.want...)
			w.host.nothingLeft(t)
		})
	}
	t.Run("canceled", func(t *testing.T) {
		t.Parallel()
		w := &world{t: t, host: host{dir: t.TempDir()}}
		w.driver = w.open()
		first := w.imported(diskWithCode(t, helloSector))
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := w.driver.Boot(ctx, []platforms.Layer{first}, platformtest.TestLog{T: t})
		says(t, err, context.DeadlineExceeded.Error())
		if took := time.Since(begin); took > time.Minute {
			t.Errorf("it took %v", took)
		}
		w.host.nothingLeft(t)
	})
}

// diskWithCode returns the path of a disk that runs the code.
func diskWithCode(t *testing.T, code string) string {
	t.Helper()
	disk := make([]byte, 1<<20)
	copy(disk, code)
	disk[510], disk[511] = 0x55, 0xaa
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// helloSector writes "hello" to the serial port and halts.
const helloSector = "\xba\xf8\x03" + // mov dx, 0x3f8
	"\xb0h\xee\xb0e\xee\xb0l\xee\xb0l\xee\xb0o\xee\xb0\n\xee" + // mov al, …; out dx, al
	"\xf4\xeb\xfd" // halt: hlt; jmp halt

// TestLacks has nothing that machines need.
func TestLacks(t *testing.T) {
	w := &world{t: t, host: host{dir: t.TempDir()}}
	layer := platforms.Layer{Key: "k", Dir: t.TempDir(), Ref: "r"}
	t.Run("QEMU", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		d := w.open()
		if list := d.Check(); len(list) != 2 || list[0].Fix != "apt-get install qemu-system-x86" && list[0].Fix != "apt-get install qemu-system-arm" {
			t.Errorf("Check: %+v", list)
		}
		image := filepath.Join(layer.Dir, "disk.qcow2")
		if err := os.WriteFile(image, append([]byte("QFI\xfb"), make([]byte, 100)...), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := d.Boot(t.Context(), []platforms.Layer{layer}, platformtest.TestLog{T: t})
		says(t, err, "QEMU is not installed", "apt-get install qemu-system-")
		w.host.nothingLeft(t)
	})
	t.Run("firmware", func(t *testing.T) {
		saved := known
		t.Cleanup(func() { known = saved })
		known = nil
		d := w.open(func(o *Options) { o.Arch, o.Firmware = "amd64", "uefi" })
		problems := d.Check()
		if n := len(problems); n == 0 || problems[n-1].Fix != "apt-get install ovmf" {
			t.Errorf("Check: %+v", problems)
		}
		_, err := d.settings.firmware.find("amd64")
		says(t, err, "no UEFI firmware for amd64 is installed", "apt-get install ovmf")
	})
	t.Run("firmware that is given", func(t *testing.T) {
		_, err := open(Options{Firmware: "/nowhere/code.fd", Variables: "/nowhere/vars.fd"}, w.host)
		says(t, err, "option firmware", "/nowhere/code.fd")
	})
}

// TestBadDisks imports what is no disk.
func TestBadDisks(t *testing.T) {
	need.Tool(t, "qemu-img")
	w := &world{t: t, host: host{dir: t.TempDir()}}
	w.driver = w.open()
	dir := t.TempDir()
	qcow2 := filepath.Join(dir, "good.qcow2")
	if err := createImage(t.Context(), qcow2, 1<<20); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(qcow2)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(good)
	for _, c := range []struct {
		name, sha256 string
		data         []byte
		want         []string
	}{
		{name: "text", data: bytes.Repeat([]byte("no disk\n"), 1000), want: []string{"is no disk image: it has no boot sector"}},
		{name: "short", data: []byte("x"), want: []string{"is no disk image"}},
		{name: "cut", data: good[:100], want: []string{"cut.img"}},
		{name: "backed", data: backed(t, qcow2), want: []string{"is not whole without the file", "good.qcow2"}},
		{name: "other", data: good, sha256: hex.EncodeToString(make([]byte, 32)), want: []string{"has the digest", hex.EncodeToString(sum[:])}},
		{name: "missing", want: []string{"missing.img"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(dir, c.name+".img")
			if c.data != nil {
				if err := os.WriteFile(path, c.data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			o := platforms.Origin{Kind: "disk", Paths: map[string]string{"disk": path}}
			if c.sha256 != "" {
				o.Options = []byte(`{"sha256":"` + c.sha256 + `"}`)
			}
			_, err := w.driver.Import(t.Context(), o, w.layerDir(), platformtest.TestLog{T: t})
			says(t, err, c.want...)
		})
	}
}

// backed is an image that reads another file of the host.
func backed(t *testing.T, below string) []byte {
	path := filepath.Join(t.TempDir(), "backed")
	if err := qemuImg(t.Context(), nil, "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", below, "--", path); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
