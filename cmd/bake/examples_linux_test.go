package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
	"bake.build/bake/internal/testdisk"
	"bake.build/bake/internal/testsshd"
	"bake.build/bake/platforms/aws/awstest"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/store"
)

// TestExamples builds every example from real Debian packages and boots what
// comes out. The examples share a store, as a team's builds do.
func TestExamples(t *testing.T) {
	need.Slow(t)
	need.Root(t)
	need.Tool(t, "mmdebstrap", "gpgv", "mkfs.vfat", "mcopy", "mke2fs", "grub-mkimage", "qemu-img", "qemu-system-x86_64", "curl",
		"xorriso", "cpio", "gzip", "zstd", "apt-get", "openssl")
	need.File(t, "/usr/share/ovmf/OVMF.fd")
	dirs, err := os.ReadDir("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]func(*testing.T, *example){
		"quickstart": testQuickstart, "golden": testGolden,
		"qemu-cloud-image": testCloudImage, "installer-iso": testInstaller, "aws": testAWS, "vsphere": testVSphereExample, "desktop": testDesktop,
	}
	e := &example{bin: buildBake(t), dir: t.TempDir()}
	for _, d := range dirs {
		if d.Name() == "openstack" || d.Name() == "teams" { // see TestOpenStackExample and TestTeams
			continue
		}
		test := tests[d.Name()]
		if test == nil {
			t.Errorf("the example %s has no test", d.Name())
			continue
		}
		if err := os.CopyFS(filepath.Join(e.dir, d.Name()), os.DirFS(filepath.Join("../../examples", d.Name()))); err != nil {
			t.Fatal(err)
		}
		// A copy of an example is a project of its own, as it is for a reader.
		root, err := os.OpenFile(filepath.Join(e.dir, d.Name(), "BAKE_ROOT"), os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if err := root.Close(); err != nil {
			t.Fatal(err)
		}
	}
	tests["ordinary machine"] = testOrdinary
	for name, test := range tests {
		if !t.Run(name, func(t *testing.T) { test(t, e) }) {
			return
		}
	}
	t.Run("equal bits", func(t *testing.T) { testEqualExamples(t, e) })
}

// testEqualExamples builds the quick start once more, and with BAKE_TEST_EQUAL the
// golden base too, on a fresh cache in other circumstances, and compares the layers
// and the disks. Downloads are shared: they are verified by digest.
func testEqualExamples(t *testing.T, e *example) {
	again := &example{bin: e.bin, dir: t.TempDir(), how: otherCircumstances}
	if err := os.MkdirAll(filepath.Join(again.dir, "cache/cache"), 0o700); err != nil {
		t.Fatal(err)
	}
	shell(t, again.dir, `cp -al "$1/cache/cache/debian" cache/cache/debian; cp -a "$1/quickstart" "$1/golden" .; rm -rf */out`, e.dir)
	again.run(t, "quickstart", "build")
	if os.Getenv("BAKE_TEST_EQUAL") != "" {
		buildGolden(t, again)
	}
	if n := sameLayers(t, filepath.Join(e.dir, "cache"), filepath.Join(again.dir, "cache")); n < 8 {
		t.Errorf("%d layers were compared", n)
	}
	for _, sums := range []string{"quickstart/out/web/SHA256SUMS", "golden/out/web/SHA256SUMS", "golden/out/jump/SHA256SUMS"} {
		got, err := os.ReadFile(filepath.Join(again.dir, sums))
		if os.IsNotExist(err) && os.Getenv("BAKE_TEST_EQUAL") == "" && strings.HasPrefix(sums, "golden") {
			continue
		}
		want, wantErr := os.ReadFile(filepath.Join(e.dir, sums))
		if err != nil || wantErr != nil || string(got) != string(want) {
			t.Errorf("%s: %s, %v, and %s, %v", sums, got, err, want, wantErr)
		}
	}
}

// sameLayers compares the layers of one cache with those that another has under
// their keys, and returns how many there are.
func sameLayers(t *testing.T, all, some string) int {
	t.Helper()
	digests := map[string]plan.Digest{}
	n := 0
	for _, dir := range []string{all, some} {
		s, err := store.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		entries, err := s.List()
		if err == nil {
			err = s.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			key := entry.Key.String()
			if dir == all {
				digests[key] = entry.Digest
				continue
			}
			n++
			if want := digests[key]; entry.Digest != want {
				t.Errorf("the layer %s (%s) has the digest %s, and %q in the first cache", entry.Name, entry.Key.Short(), entry.Digest, want)
			}
		}
	}
	return n
}

// An example is a folder with copies of the examples and their store.
type example struct {
	bin, dir string
	how      circumstances
}

// run runs bake in an example's folder and returns what it printed.
func (e *example) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	return e.ask(t, name, "", args...)
}

// ask runs bake with an input.
func (e *example) ask(t *testing.T, name, input string, args ...string) string {
	t.Helper()
	cmd := e.how.command(e.bin, args...)
	cmd.Stdin = strings.NewReader(input)
	cmd.Dir = filepath.Join(e.dir, name)
	cmd.Env = append(cmd.Env, "BAKE_CACHE_DIR="+filepath.Join(e.dir, "cache"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		if len(out) > 8192 {
			out = out[len(out)-8192:]
		}
		t.Fatalf("bake %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// boot starts a disk of an example and waits until its web server answers with
// the text.
func (e *example) boot(t *testing.T, firmware, disk, text string) {
	t.Helper()
	script, err := filepath.Abs("../../examples/quickstart/boot.sh")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(script, disk, text)
	cmd.Dir = e.dir
	cmd.Env = append(os.Environ(), "BOOT_FIRMWARE="+firmware, "BOOT_TIMEOUT=600")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("boot %s by %s: %v\n%s", disk, firmware, err, out)
	}
}

func testQuickstart(t *testing.T, e *example) {
	out := e.run(t, "quickstart", "build")
	if !strings.Contains(out, "pinned to sha256:") {
		t.Errorf("the build does not say that it pinned the origin:\n%s", out)
	}
	if _, err := os.Stat(filepath.Join(e.dir, "quickstart/bake.lock")); err != nil {
		t.Error(err)
	}
	if out := e.run(t, "quickstart", "build"); !strings.Contains(out, "nothing to do") {
		t.Errorf("second build: %s", out)
	}
	page := "<p>another page\n"
	if err := os.WriteFile(filepath.Join(e.dir, "quickstart/site/index.html"), []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
	out = e.run(t, "quickstart", "build")
	for _, cached := range []string{"source: debian bookworm | cached", "apt install: nginx-light curl | cached"} {
		if !strings.Contains(out, cached) {
			t.Errorf("after a change of the page, want %q in:\n%s", cached, out)
		}
	}
	e.boot(t, "bios", "quickstart/out/web/web.qcow2", "another page")
}

// buildGolden builds one image in every format of a hypervisor and the other in one, and
// returns what the first build printed.
func buildGolden(t *testing.T, e *example) string {
	t.Helper()
	// The kernel of the quick start, which is there already, is not that of every hypervisor.
	args := []string{"-p", "kernel=linux-image-cloud-amd64", "-p", "release=7"}
	out := e.run(t, "golden", append([]string{"build", "web", "-p", "formats=raw,qcow2,vmdk,vdi,vhd,vhd-dynamic"}, args...)...)
	e.run(t, "golden", append([]string{"build", "jump", "-p", "formats=qcow2"}, args...)...)
	return out
}

func testGolden(t *testing.T, e *example) {
	out := buildGolden(t, e)
	for _, want := range []string{"vdi: VirtualBox attaches a disk by SATA, and the kernel", "vmdk: VMware attaches a disk by LSI Logic SCSI, and the kernel"} {
		if !strings.Contains(out, want) {
			t.Errorf("no warning %q in:\n%s", want, out)
		}
	}
	for _, fine := range []string{"qcow2: ", "vhd: "} {
		if strings.Contains(out, "web: "+fine) {
			t.Errorf("a warning of %q in:\n%s", fine, out)
		}
	}
	dir := filepath.Join(e.dir, "golden/out/web")
	files, err := filepath.Glob(filepath.Join(dir, "web*"))
	if err != nil || len(files) != 6 {
		t.Fatalf("files %v, %v", files, err)
	}
	for _, f := range files {
		format := map[string]string{".vmdk": "vmdk", ".vdi": "vdi", ".vhd": "vpc", ".qcow2": "qcow2", ".raw": "raw"}[filepath.Ext(f)]
		if out, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", format, filepath.Join(dir, "web.raw"), f).CombinedOutput(); err != nil {
			t.Errorf("compare %s: %v\n%s", f, err, out)
		}
	}
	testSums(t, dir, len(files))
	e.boot(t, "uefi", "golden/out/web/web.vmdk", "Welcome to nginx")
}

// testSums compares a directory's SHA256SUMS with openssl, which takes a fifth of the
// time of sha256sum.
func testSums(t *testing.T, dir string, files int) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("openssl", "sha256", "-r")
	for line := range strings.Lines(string(got)) {
		_, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		cmd.Args = append(cmd.Args, name)
	}
	cmd.Dir = dir
	want, err := cmd.CombinedOutput()
	if err != nil || strings.ReplaceAll(string(want), " *", "  ") != string(got) || strings.Count(string(got), "\n") != files {
		t.Errorf("SHA256SUMS holds\n%s, and openssl says\n%s%v", got, want, err)
	}
}

// testCloudImage provisions the test disk in place of a distribution's image.
func testCloudImage(t *testing.T, e *example) {
	args := []string{"build", "-p", "disk=" + testdisk.Path(t), "-p", "memory=512M", "-p", "packages=", "-p", "formats=qcow2,vmdk,tar"}
	out := e.run(t, "qemu-cloud-image", args...)
	for _, done := range []string{"reboot | done", "boots and serves | done"} {
		if !strings.Contains(out, done) {
			t.Errorf("the build does not say %q:\n%s", done, out)
		}
	}
	if out := e.run(t, "qemu-cloud-image", args...); !strings.Contains(out, "nothing to do") {
		t.Errorf("second build: %s", out)
	}
	dir := filepath.Join(e.dir, "qemu-cloud-image/out/web")
	list, err := exec.Command("tar", "-tf", filepath.Join(dir, "web.tar")).CombinedOutput()
	if err != nil || !strings.Contains(string(list), "etc/systemd/system/status.socket\n") {
		t.Errorf("the archive holds %d bytes of names, %v", len(list), err)
	}
	compare := exec.Command("qemu-img", "compare", filepath.Join(dir, "web.qcow2"), filepath.Join(dir, "web.vmdk"))
	if out, err := compare.CombinedOutput(); err != nil {
		t.Errorf("the formats differ: %v\n%s", err, out)
	}
}

// testInstaller boots Debian's installer from a CD with its network image. To
// have it install from a mirror would take half an hour of software emulation:
// its preseed file has it write a finished disk, and shut down.
func testInstaller(t *testing.T, e *example) {
	dir := filepath.Join(e.dir, "installer-iso")
	installerCD(t, filepath.Join(dir, "netboot.iso"))
	// Only what the disk holds is sent: software emulation is long at unpacking holes.
	shell(t, dir, `qemu-img convert -O raw "$1" disk.raw; head -c 8388608 /dev/zero >zero
split -b 8388608 -a 3 --numeric-suffixes=100 --filter='cat >part; cmp -s part zero || gzip -1 <part >http/$FILE.gz' disk.raw ''
rm disk.raw part zero; ls http | sed -n 's/^\([0-9]*\)\.gz$/\1/p' >parts`, testdisk.Path(t))
	parts, err := os.ReadFile(filepath.Join(dir, "parts"))
	if err != nil {
		t.Fatal(err)
	}
	preseed := `d-i netcfg/choose_interface select auto
d-i preseed/early_command string insmod /virtio_blk.ko; sleep 1; u=$(debconf-get preseed/url); for i in ` + strings.Join(strings.Fields(string(parts)), " ") + `; do wget -q -O - "${u%/*}/$i.gz" | gunzip | dd of=/dev/vda bs=8388608 seek=$((i-100)) 2>/dev/null || exit 1; done; sync; poweroff
`
	if err := os.WriteFile(filepath.Join(dir, "http/test.cfg"), []byte(preseed), 0o644); err != nil {
		t.Fatal(err)
	}
	params := []string{"-p", "iso=netboot.iso", "-p", "preseed=test.cfg"}
	e.run(t, "installer-iso", append([]string{"build"}, params...)...)
	out := e.ask(t, "installer-iso", "cat /etc/image-release\n", append([]string{"shell", "debian"}, params...)...)
	if !strings.Contains(out, "made by an installer") {
		t.Errorf("the image holds %q", out)
	}
}

// installerCD makes a CD that boots Debian's installer by its own boot menu, with
// the driver for its disk, which the installer would fetch from a mirror. Software
// emulation unpacks zstd in less time than gzip.
func installerCD(t *testing.T, iso string) {
	shell(t, t.TempDir(), `
image=/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64
[ -e $image/initrd.gz ] || { echo "debian-installer-12-netboot-amd64 is not installed"; exit 1; }
mkdir -p cd/isolinux
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 cd/isolinux
cat >cd/isolinux/isolinux.cfg <<END
DEFAULT menu
PROMPT 1
TIMEOUT 0
LABEL install
KERNEL /linux
APPEND initrd=/initrd.zst $2
END
cp $image/linux cd
version=$(zcat $image/initrd.gz | cpio -t --quiet | sed -n 's,^lib/modules/\([^/]*\)$,\1,p')
apt-get download "linux-image-$version"
dpkg-deb --fsys-tarfile linux-image-*.deb | tar -x --wildcards '*/virtio_blk.ko*'
find . -name 'virtio_blk.ko' -exec cp {} . ';'
{ zcat $image/initrd.gz; echo virtio_blk.ko | cpio -o -H newc; } | zstd -q >cd/initrd.zst
xorriso -as mkisofs -quiet -o "$1" -b isolinux/isolinux.bin -c isolinux/boot.cat \
	-no-emul-boot -boot-load-size 4 -boot-info-table cd
`, iso, testdisk.KernelArgs)
}

// shell runs a script that makes what a test needs.
func shell(t *testing.T, dir, script string, args ...string) {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-euc", script, "sh"}, args...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("prepare the test: %v\n%s", err, out)
	}
}

// testAWS registers the image on a stand-in for AWS, twice: the system is that of
// the quick start, which makes it anyway.
func testAWS(t *testing.T, e *example) {
	cloud := awstest.New()
	defer cloud.Close()
	for _, v := range awsEnvironment(cloud.URL, e.dir) {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	args := []string{"build", "--progress=plain", "-p", "packages=linux-image-cloud-amd64,openssh-server,systemd-sysv", "-p", "regions=eu-west-1,us-east-1"}
	e.run(t, "aws", args...)
	images := cloud.Images("us-east-1")
	if len(images) != 1 || images[0].Tags["bake:name"] != "web" {
		t.Fatalf("images %+v", images)
	}
	all := cloud.Count("PutSnapshotBlock")
	e.run(t, "aws", append(args, "-p", "version=2")...)
	if n := cloud.Count("PutSnapshotBlock") - all; n >= all/20 || len(cloud.Images("eu-west-1")) != 2 {
		t.Errorf("%d blocks, then %d for a changed file", all, n)
	}
	t.Logf("%d blocks, then %d for a changed file", all, cloud.Count("PutSnapshotBlock")-all)
	testAWSInstance(t, e)
}

// testDesktop makes the OVA, which starts with the bus and the card of its descriptor, the
// boxes, and the AMI of the same files. The base is that of the other examples, whose
// kernel has the drivers of VMware.
func testDesktop(t *testing.T, e *example) {
	cloud := awstest.New()
	defer cloud.Close()
	for _, v := range awsEnvironment(cloud.URL, e.dir) {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	e.run(t, "desktop", "build", "--progress=plain", "-p", "packages=linux-image-cloud-amd64,openssh-server,systemd-sysv",
		"-p", "disk_bus=pvscsi", "-p", "nic=vmxnet3", "-p", "formats=vagrant-vmware", "-p", "cloud=true")
	for _, name := range []string{"web/web.ova", "box/box-vmware.box"} {
		if info, err := os.Stat(filepath.Join(e.dir, "desktop/out", name)); err != nil || info.Size() < 50<<20 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if images := cloud.Images("eu-west-1"); len(images) != 1 || images[0].Tags["bake:name"] != "web-cloud" {
		t.Errorf("images %+v", images)
	}
}

// testAWSInstance goes the other way of the example: it runs the steps in instances of
// a stand-in for AWS, which share the files of this host: packages are left out.
func testAWSInstance(t *testing.T, e *example) {
	need.Tool(t, testsshd.Tools...)
	fleet := &testsshd.Fleet{Dir: t.TempDir()}
	defer fleet.Close()
	cloud := awstest.New(func(c *awstest.Cloud) { c.Machines = fleet })
	defer cloud.Close()
	cloud.AddImage("eu-west-1", awstest.Image{Name: debianAMI})
	for _, v := range awsEnvironment(cloud.URL, e.dir) {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	out := e.run(t, "aws", "build", "instance.star", "--progress=plain", "-p", "user=root", "-p", "packages=", "-p", "regions=eu-west-1,us-east-1")
	images := cloud.Images("us-east-1")
	if len(images) != 1 || images[0].Tags["bake:name"] != "web" || images[0].Tags["team"] != "web" {
		t.Errorf("images %+v\n%s", images, out)
	}
	if running := cloud.Running(); len(running) > 0 {
		t.Errorf("left: %v", running)
	}
}
