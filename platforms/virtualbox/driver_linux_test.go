package virtualbox

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/need"
	"bake.build/bake/internal/testbake"
	"bake.build/bake/internal/testdisk"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/desktop"
	"bake.build/bake/platforms/image/root"
	"bake.build/bake/platforms/ssh"
	"bake.build/bake/platforms/virtualbox/vboxtest"
)

// A lender is a host with a ledger that can be looked at.
type lender struct {
	dir string

	mu      sync.Mutex
	records map[int]platforms.Resource
	begun   int
}

func newLender(t *testing.T) *lender {
	t.Helper()
	// The names of sockets below it are bounded.
	dir, err := os.MkdirTemp("", "vb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return &lender{dir: dir, records: map[int]platforms.Resource{}}
}

func (h *lender) TempDir(prefix string) (string, func() error, error) {
	dir, err := os.MkdirTemp(h.dir, prefix)
	return dir, func() error { return os.RemoveAll(dir) }, err
}

func (h *lender) CacheDir(name string) (string, error) {
	dir := filepath.Join(h.dir, "cache", name)
	return dir, os.MkdirAll(dir, 0o700)
}

func (h *lender) Secret(s platforms.Secret) ([]byte, error) { return []byte(s), nil }
func (h *lender) Ask(context.Context, string) (string, error) {
	return "", errors.New("nobody to ask")
}
func (h *lender) Ledger() platforms.Ledger { return h }
func (h *lender) Build() string            { return "build" }
func (h *lender) Project() string          { return "acme/images" }

func (h *lender) Begin(r platforms.Resource) (func() error, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.begun++
	n := h.begun
	h.records[n] = r
	return func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.records, n)
		return nil
	}, nil
}

func (h *lender) open() (list []platforms.Resource) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.records {
		list = append(list, r)
	}
	return list
}

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

type testLogger struct{ t testing.TB }

func (s testLogger) Write(p []byte) (int, error) {
	s.t.Logf("%s", p)
	return len(p), nil
}

func (s testLogger) Progress(what string, _, _ int64) { s.t.Log(what) }

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
	h := newLender(t)
	project, bake := filepath.Join(h.dir, "project"), filepath.Join(h.dir, "bake")
	if err := errors.Join(testbake.Build(bake), os.Mkdir(project, 0o755), os.Link(testdisk.Path(t), filepath.Join(project, "base.qcow2")),
		os.WriteFile(filepath.Join(project, "images.star"), []byte(definition), 0o644)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("BAKE_CACHE_DIR", filepath.Join(h.dir, "cache"))
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
	if left, err := exec.Command("sh", "-c", "grep -lzF "+homeEnv+h.dir+" /proc/[0-9]*/environ 2>/dev/null").Output(); err == nil {
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
