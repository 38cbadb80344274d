package vmware

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/need"
	"bake.build/bake/internal/testdisk"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/desktop"
	"bake.build/bake/platforms/image/root"
	"bake.build/bake/platforms/platformtest"
	"bake.build/bake/platforms/ssh"
	"bake.build/bake/platforms/vmware/vmwaretest"
)

// TestMain is vmrun where the test binary is called by that name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) != "vmrun" {
		os.Exit(m.Run())
	}
	os.Exit(vmwaretest.Main(os.Args[1:]))
}

// install puts the stand-in into PATH. It returns the file of leases, and the one of
// faults.
func install(t *testing.T) (leases, faults string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin, state := t.TempDir(), t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "vmrun")); err != nil {
		t.Fatal(err)
	}
	leases, faults = filepath.Join(bin, "leases"), filepath.Join(bin, "faults")
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv(vmwaretest.StateEnv, state)
	t.Setenv(vmwaretest.LeasesEnv, leases)
	t.Setenv(vmwaretest.FaultEnv, faults)
	return leases, faults
}

// openDriver opens one whose machines let bob in, who has a password.
func openDriver(t *testing.T, h platforms.Host, leases string) *driver {
	t.Helper()
	o := Options{Leases: leases, Options: desktop.Options{
		Hardware: &hardware.Options{CPUs: 2, Memory: "512M", NIC: "vmxnet3", DiskBus: "pvscsi"},
		Login:    ssh.Login{BootTimeout: "10m", User: "bob", Password: "secret", SudoPassword: "secret"},
	}}
	d, err := open(o, h)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDebian builds on a disk with Debian, as a user with a password: two steps in one
// machine, which shuts down for the disk of the last layer.
func TestDebian(t *testing.T) {
	need.Slow(t)
	need.Root(t)
	need.Tool(t, "qemu-system-x86_64", "qemu-img")
	leases, _ := install(t)
	disk := testdisk.Path(t)
	h := platformtest.NewHost(t)
	d := openDriver(t, h, leases)
	first := platforms.Layer{Key: "first", Dir: t.TempDir()}
	made, err := d.Import(t.Context(), platforms.Origin{Kind: "disk", Paths: map[string]string{"disk": disk}}, first.Dir, platformtest.TestLog{T: t})
	if err != nil {
		t.Fatal(err)
	}
	first.Ref, first.Traits = made.Ref, made.Traits
	chain := []platforms.Layer{first}
	before := contents(t, chain)
	begun := time.Now()
	m, err := d.Boot(t.Context(), chain, platformtest.TestLog{T: t})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("a machine after %v", time.Since(begun))
	defer m.Close()
	for _, key := range []string{"one", "two"} {
		platformtest.Sh(t, m, "echo "+key+" >/"+key)
		layer := platforms.Layer{Key: key, Dir: t.TempDir()}
		begun := time.Now()
		if made, err = m.Commit(t.Context(), platforms.State{Key: key, Dir: layer.Dir, Needed: true}); err != nil {
			t.Fatal(err)
		}
		t.Logf("committed in %v", time.Since(begun))
		layer.Ref, layer.Traits = made.Ref, made.Traits
		chain = append(chain, layer)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	raw := filepath.Join(h.Dir, "disk.raw")
	if err := errors.Join(d.Disk(t.Context(), chain, raw, platformtest.TestLog{T: t}), d.Close()); err != nil {
		t.Fatal(err)
	}
	if left := h.Left(); len(left) > 0 {
		t.Errorf("the ledger has %v", left)
	}
	if after := contents(t, chain[:1]); after != before {
		t.Errorf("the first layer was %s, and is %s", before, after)
	}
	if err := root.Check(); err != nil {
		t.Fatal(err)
	}
	err = root.Open(t.Context(), raw, t.TempDir(), func(dir string) error {
		for name, want := range map[string]string{"one": "one\n", "two": "two\n", "root/.ssh/authorized_keys2": "", "root/.ssh/authorized_keys": ""} {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if string(text) != want || want == "" && !os.IsNotExist(err) {
				t.Errorf("/%s has %q, %v", name, text, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// contents tells the files of layers, by their sizes and times.
func contents(t *testing.T, chain []platforms.Layer) string {
	t.Helper()
	var all strings.Builder
	for _, l := range chain {
		entries, err := os.ReadDir(l.Dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			all.WriteString(info.Name() + " " + info.ModTime().String() + "\n")
		}
	}
	return all.String()
}
