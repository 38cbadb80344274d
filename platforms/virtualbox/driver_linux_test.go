package virtualbox

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/need"
	"bake.build/bake/internal/testbake"
	"bake.build/bake/internal/testdisk"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/desktop"
	"bake.build/bake/platforms/image/root"
	"bake.build/bake/platforms/platformtest"
	"bake.build/bake/platforms/ssh"
	"bake.build/bake/platforms/virtualbox/vboxtest"
)

func openDriver(t *testing.T, h platforms.Host) *driver {
	t.Helper()
	o := Options{Options: desktop.Options{
		Hardware: &hardware.Options{CPUs: 2, Memory: "512M", NIC: "virtio", DiskBus: "virtio"}, Login: ssh.Login{BootTimeout: "5m"},
	}}
	d, err := open(o, h)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// definition is built twice: the first time its second step fails.
const definition = `
step = param("step", default = "false", help = "What the second step does")
machine = hardware(cpus = 2, memory = "512M", disk_bus = "virtio", nic = "virtio", guest_os = "debian12")
vbox = virtualbox(hardware = machine)
one = shell(source(vbox, disk = "base.qcow2"), "echo one >/one", name = "first")
two = shell(one, step, name = "second")
appliance = export(two, "web", formats = ["ova", "raw"], hardware = machine, ovf = {"flavor": "virtualbox"})
test(appliance, expect_console = "Linux version", on = vbox, format = "ova")
export(source(vbox, ova = appliance), "again", formats = ["raw"])
`

// TestBuild builds on a disk with Debian by bake itself: it resumes at the step that
// failed in another process, which has another key, exports the machine without a trace,
// launches the OVA as it ships, and takes it as an origin.
func TestBuild(t *testing.T) {
	need.Slow(t)
	need.Root(t)
	need.Tool(t, "qemu-system-x86_64", "qemu-img")
	vboxtest.Install(t)
	h := platformtest.NewHost(t)
	project, bake := filepath.Join(h.Dir, "project"), filepath.Join(h.Dir, "bake")
	if err := errors.Join(testbake.Build(bake), os.Mkdir(project, 0o755), os.Link(testdisk.Path(t), filepath.Join(project, "base.qcow2")),
		os.WriteFile(filepath.Join(project, "images.star"), []byte(definition), 0o644)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("BAKE_CACHE_DIR", filepath.Join(h.Dir, "cache"))
	run := func(args ...string) (string, error) {
		cmd := exec.Command(bake, args...)
		cmd.Dir = project
		out, err := cmd.CombinedOutput()
		t.Logf("bake %q:\n%s", args, out)
		return string(out), err
	}
	if out, err := run("build", "--progress", "plain"); err == nil || !strings.Contains(out, "exit status 1") {
		t.Fatalf("the second step does not fail: %v", err)
	}
	if _, err := run("build", "--progress", "plain", "-p", "step=echo two >/two"); err != nil {
		t.Fatal(err)
	}
	if out, err := run("gc"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if left, err := filepath.Glob("/tmp/.vbox-bake-*"); err != nil || len(left) > 0 {
		t.Errorf("sockets are left: %v, %v", left, err)
	}
	if left, err := exec.Command("sh", "-c", "grep -lzF "+homeEnv+h.Dir+" /proc/[0-9]*/environ 2>/dev/null").Output(); err == nil {
		t.Errorf("processes are left: %s", left)
	}
	web, again := filepath.Join(project, "out", "web", "web.raw"), filepath.Join(project, "out", "again", "again.raw")
	if said, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", "raw", web, again).CombinedOutput(); err != nil {
		t.Errorf("the appliance is read otherwise than the disk: %v: %s", err, said)
	}
	noTrace(t, web)
}

// noTrace looks for what the build has left on a disk.
func noTrace(t *testing.T, raw string) {
	t.Helper()
	if err := root.Check(); err != nil {
		t.Fatal(err)
	}
	err := root.Open(t.Context(), raw, t.TempDir(), func(dir string) error {
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
