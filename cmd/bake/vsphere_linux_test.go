package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/internal/need"
	"bake.build/bake/internal/testsshd"
	"bake.build/bake/internal/vmdk"
	"bake.build/bake/platforms/vsphere/vspheretest"
	"bake.build/bake/runtime/export"
)

// inVCenter is a definition whose steps run in virtual machines of vCenter.
const inVCenter = `
number = param("number", default = 0)

dc = vsphere(server_user = "images@vsphere.local", server_password = secret("vcenter"), cluster = "DC0_C0", boot_timeout = "30s")
m = source(dc, template = "debian-12")
m = shell(m, "echo base >/etc/base")
m = copy(m, "site", "/srv/site")
m = shell(m, "echo %d >/etc/number" % number, name = "number")
test(m, "grep -qx %d /etc/number && grep -qx base /etc/base && grep -q hello /srv/site/index.html" % number)
export(m, "web", image_folder = "images", description = "number %d" % number)
`

// A vcenter is a project whose machines and images are in a stand-in for vCenter.
type vcenter struct {
	*testing.T
	server   *vspheretest.Server
	bin, dir string
	env      []string
}

func newVCenter(t *testing.T, definition string) *vcenter {
	t.Helper()
	need.Root(t)
	need.Tool(t, testsshd.Tools...)
	fleet := &testsshd.Fleet{Dir: t.TempDir()}
	t.Cleanup(fleet.Close)
	s, err := vspheretest.New(simulator.VPX())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	s.AddTemplate("debian-12")
	s.Machines = fleet
	v := &vcenter{T: t, server: s, bin: buildBake(t), dir: t.TempDir(), env: []string{
		"GOVC_URL=" + s.URL, "GOVC_INSECURE=1", "GOVC_USERNAME=" + vspheretest.User, "GOVC_PASSWORD=" + vspheretest.Password, "BAKE_SECRET_VCENTER=" + vspheretest.Password,
	}}
	if err := os.Mkdir(filepath.Join(v.dir, "site"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(v.dir, "site", "index.html"), []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(v.dir, "BAKE_ROOT"), []byte("acme/images\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	v.define(definition)
	return v
}

func (v *vcenter) define(definition string) {
	v.Helper()
	if err := os.WriteFile(filepath.Join(v.dir, "images.star"), []byte(definition), 0o644); err != nil {
		v.Fatal(err)
	}
}

func (v *vcenter) command(args ...string) *exec.Cmd {
	v.Helper()
	cmd := bakeIn(v.T, v.bin, v.dir, args...)
	cmd.Env = append(cmd.Env, v.env...)
	return cmd
}

func (v *vcenter) run(args ...string) string {
	v.Helper()
	out, err := v.command(args...).CombinedOutput()
	if err != nil {
		v.Fatalf("bake %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	if strings.Contains(string(out), vspheretest.Password) {
		v.Errorf("the password is shown:\n%s", out)
	}
	return string(out)
}

func (v *vcenter) fails(want string, args ...string) {
	v.Helper()
	out, err := v.command(args...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), want) {
		v.Errorf("bake %s: %v, want %q in\n%s", strings.Join(args, " "), err, want, out)
	}
	if strings.Contains(string(out), vspheretest.Password) {
		v.Errorf("the password is shown:\n%s", out)
	}
}

// machines returns how many of bake's machines there are, and how many are on.
func (v *vcenter) machines() (all, on int) {
	for name, vm := range v.server.VMs() {
		if strings.HasPrefix(name, "bake-") {
			all++
			if vm.Runtime.PowerState == "poweredOn" {
				on++
			}
		}
	}
	return all, on
}

// images returns the images whose names begin so.
func (v *vcenter) images(prefix string) (list []*simulator.VirtualMachine) {
	for name, vm := range v.server.VMs() {
		if strings.HasPrefix(name, prefix) {
			list = append(list, vm)
		}
	}
	return list
}

// idle wants no machine to be on and nothing to be in the ledger.
func (v *vcenter) idle() {
	v.Helper()
	if _, on := v.machines(); on > 0 {
		v.Errorf("%d machines are on", on)
	}
	if out := v.run("gc"); !strings.Contains(out, "nothing is left behind") {
		v.Errorf("gc: %s", out)
	}
}

// TestVSphere goes the way of a user whose steps run in virtual machines of vCenter.
func TestVSphere(t *testing.T) {
	v := newVCenter(t, inVCenter)
	out := v.run("build", "--progress=plain")
	images := v.images("web-")
	if len(images) != 1 || !images[0].Config.Template || images[0].Config.Annotation != "number 0" || !strings.Contains(out, images[0].Self.Value+" in DC0 ("+images[0].Name+")") {
		t.Fatalf("images %v\n%s", images, out)
	}
	if n := v.server.Count("CloneVM_Task"); n != 3 { // one for the steps, one for the test, and the image
		t.Errorf("%d machines were cloned\n%s", n, out)
	}
	if all, _ := v.machines(); all != 1 {
		t.Errorf("there are %d machines\n%s", all, out)
	}
	lock, err := os.ReadFile(filepath.Join(v.dir, "bake.lock"))
	if want := v.server.VMs()["debian-12"].Config.InstanceUuid; err != nil || !strings.Contains(string(lock), want) {
		t.Errorf("the lock file %s, %v", lock, err)
	}
	v.idle()
	before := v.server.Requests()
	if out := v.run("build", "--progress=plain"); !strings.Contains(out, "nothing to do") {
		t.Errorf("the second build:\n%s", out)
	}
	if n := v.server.Requests() - before; n > 60 {
		t.Errorf("%d requests found that nothing has changed", n)
	}

	// With a policy of every step, a changed last step begins on the one before.
	every := strings.Replace(inVCenter, `boot_timeout`, `checkpoint = "every-step", boot_timeout`, 1)
	v.define(every)
	v.run("build", "--progress=plain", "-p", "number=2")
	out = v.run("build", "--progress=plain", "-p", "number=3")
	if !strings.Contains(out, "3 cached, 3 run") || !strings.Contains(out, "a linked clone of ") {
		t.Errorf("a changed last step:\n%s", out)
	}
	v.idle()

	// Into files: the disk of the layer is read back.
	raw := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(raw, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	if err := vmdk.WriteStream(t.Context(), &stream, "disk.vmdk", raw, 1<<20, vmdk.Identity{}, func(int64) {}); err != nil {
		t.Fatal(err)
	}
	v.server.Disk = stream.Bytes()
	v.define(every + `export(m, "local", formats = ["raw"])` + "\n")
	v.run("build", "--progress=plain", "-p", "number=3", "local")
	if info, err := os.Stat(filepath.Join(v.dir, "out", "local", "local.raw")); err != nil || info.Size() != 1<<20 {
		t.Errorf("the disk: %v, %v", info, err)
	}

	for _, c := range []struct{ old, new, want string }{
		{`"debian-12"`, `"debian-13"`, `images.star:5:11: source: template: there is no "debian-13" (did you mean "debian-12"?)`},
		{`"DC0_C0"`, `"DC0_C1"`, `cluster: there is no "DC0_C1" (did you mean "DC0_C0"?)`},
		{`image_folder = "images"`, `image_name = "a/b"`, "images.star:10:"},
		{`name = "number"`, `name = "number", valid_exit_codes = [7]`, "number"},
	} {
		v.define(strings.Replace(inVCenter, c.old, c.new, 1))
		v.fails(c.want, "build", "-p", "number=9")
	}
	v.idle()
	v.define(inVCenter)
	if out := v.run("cache", "prune", "--platform", "vsphere", "--older-than", "1ns"); !strings.Contains(out, "removed ") {
		t.Errorf("prune: %s", out)
	}
	if all, _ := v.machines(); all != 0 {
		t.Errorf("%d machines are left", all)
	}
}

// toVCenter is a definition whose image is uploaded, without a machine in vCenter. Nothing
// boots it: the kernel is a text.
const toVCenter = `
number = param("number", default = 0)

m = source(rootfs(), tar = "root.tar")
m = write(m, "/boot/vmlinuz", "no kernel %d\n" % number)
m = write(m, "/boot/initrd.img", "no initial RAM disk\n")
dc = vsphere(cluster = "DC0_C0", datastore = "LocalDS_0", network = "VM Network")
export(m, "web", to = [dc], size = "256M", keep = 1, image_type = "vm", hardware = hardware(cpus = 3, memory = "1G", guest_os = "debian12"))
`

// TestUploaded has a layer of this host registered in vCenter.
func TestUploaded(t *testing.T) {
	need.File(t, busyboxPath)
	need.Tool(t, "mke2fs", "grub-mkimage")
	v := newVCenter(t, toVCenter)
	if err := writeBusybox(filepath.Join(v.dir, "root.tar")); err != nil {
		t.Fatal(err)
	}
	out := v.run("build", "--progress=plain")
	images := v.images("web-")
	if len(images) != 1 || images[0].Config.Template || images[0].Snapshot == nil || v.server.Count("CloneVM_Task") != 0 {
		t.Fatalf("images %v\n%s", images, out)
	}
	if c := images[0].Config; c.Hardware.NumCPU != 3 || c.Hardware.MemoryMB != 1024 {
		t.Errorf("the image's machine: %+v", c.Hardware)
	}
	m, err := export.ReadManifest(filepath.Join(v.dir, "out", "web"))
	if err != nil || len(m.Images) != 1 || m.Images[0].ID != images[0].Self.Value || m.Images[0].Place != "DC0" || m.Images[0].Name != images[0].Name {
		t.Errorf("the manifest says %+v: %v", m, err)
	}
	if out := v.run("build", "--progress=plain"); !strings.Contains(out, "nothing to do") {
		t.Errorf("the second build:\n%s", out)
	}
	v.run("build", "--progress=plain", "-p", "number=1")
	if now := v.images("web-"); len(now) != 1 || now[0].Name == images[0].Name || v.server.Count("ImportVApp") != 2 {
		t.Errorf("a changed image: %v", now)
	}
	v.idle()
}

// testVSphereExample builds the example against a stand-in for vCenter.
func testVSphereExample(t *testing.T, e *example) {
	need.Tool(t, testsshd.Tools...)
	fleet := &testsshd.Fleet{Dir: t.TempDir()}
	defer fleet.Close()
	s, err := vspheretest.New(simulator.VPX())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.AddTemplate("debian-12")
	s.Machines = fleet
	for name, value := range map[string]string{
		"GOVC_URL": s.URL, "GOVC_USERNAME": vspheretest.User, "GOVC_TLS_CA_CERTS": s.Authority(t.TempDir()), "BAKE_SECRET_VCENTER": vspheretest.Password,
	} {
		t.Setenv(name, value)
	}
	out := e.run(t, "vsphere", "build", "--progress=plain", "-p", "user=root", "-p", "packages=", "-p", "cluster=DC0_C0", "-p", "network=VM Network")
	found := 0
	for name, vm := range s.VMs() {
		if strings.HasPrefix(name, "web-") && vm.Config.Template && vm.Config.Annotation == "A web server, release dev" {
			found++
		}
		if vm.Runtime.PowerState == "poweredOn" && strings.HasPrefix(name, "bake-") {
			t.Errorf("%s is on", name)
		}
	}
	if found != 1 {
		t.Errorf("%d images\n%s", found, out)
	}
}

// TestVSphereKilled kills bake while it turns a machine on, and while it uploads; bake gc
// then leaves nothing.
func TestVSphereKilled(t *testing.T) {
	need.File(t, busyboxPath)
	need.Tool(t, "mke2fs", "grub-mkimage")
	v := newVCenter(t, inVCenter)
	if err := writeBusybox(filepath.Join(v.dir, "root.tar")); err != nil {
		t.Fatal(err)
	}
	before := len(v.server.VMs())
	for method, definition := range map[string]string{"PowerOnVM_Task": inVCenter, "HttpNfcLeaseComplete": toVCenter} {
		v.define(definition)
		cmd := v.command("build", "--progress=plain")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		asked, killed := make(chan struct{}, 1), make(chan struct{})
		v.server.SetAnswer(func(m string, _ any) types.BaseMethodFault {
			if m == method {
				select {
				case asked <- struct{}{}:
					<-killed // no answer before
				default:
				}
			}
			return nil
		})
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case <-asked:
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
			close(killed)
			<-ended // by a signal, which Wait calls an error
		case err := <-ended:
			t.Errorf("%s: the build was not killed: %v\n%s", method, err, &out)
		}
		v.server.SetAnswer(nil)
		if n := len(v.server.VMs()); n != before+1 {
			t.Errorf("%s: %d machines were left", method, n-before)
		}
		if out := v.run("gc"); !strings.Contains(out, "removed ") || len(v.server.VMs()) != before {
			t.Errorf("%s: %d machines are left\n%s", method, len(v.server.VMs())-before, out)
		}
		v.idle()
	}
}
