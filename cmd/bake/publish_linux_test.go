package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bake.build/bake/internal/need"
	"bake.build/bake/internal/tool"
	"bake.build/bake/platforms/aws/awstest"
)

// published is a definition whose image is registered in two regions. Nothing
// boots it: the kernel is a text.
const published = `
number = param("number", default = 0)

base = source(rootfs(), tar = "root.tar")
base = write(base, "/boot/vmlinuz", "no kernel\n")
base = write(base, "/boot/initrd.img", "no initial RAM disk\n")
m = write(base, "/number", "%d\n" % number)
export(m, "web", to = [aws(region = "eu-west-1", tags = {"team": "web"})], regions = ["us-east-1"],
    share_with = ["123456789012"], size = "256M")
`

// An account is a project whose images go to a stand-in for AWS.
type account struct {
	*testing.T
	cloud    *awstest.Cloud
	bin, dir string
}

func newAccount(t *testing.T, definition string, setup ...func(*awstest.Cloud)) *account {
	t.Helper()
	need.Root(t)
	need.File(t, busyboxPath)
	need.Tool(t, "mke2fs", "grub-mkimage")
	a := &account{T: t, cloud: awstest.New(setup...), bin: buildBake(t), dir: t.TempDir()}
	t.Cleanup(a.cloud.Close)
	if err := writeBusybox(filepath.Join(a.dir, "root.tar")); err != nil {
		t.Fatal(err)
	}
	a.define(definition)
	return a
}

func (a *account) define(definition string) {
	a.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, "BAKE_ROOT"), []byte("acme/images\n"), 0o644); err != nil {
		a.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(a.dir, "images.star"), []byte(definition), 0o644); err != nil {
		a.Fatal(err)
	}
}

// command returns bake with an environment that leads to the stand-in.
func (a *account) command(args ...string) *exec.Cmd {
	a.Helper()
	cmd := bakeIn(a.T, a.bin, a.dir, args...)
	cmd.Env = append(cmd.Env, awsEnvironment(a.cloud.URL, a.dir)...)
	return cmd
}

func awsEnvironment(url, dir string) []string {
	return []string{
		"AWS_ENDPOINT_URL=" + url, "AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=a very secret key", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_PROFILE=", "AWS_REGION=eu-west-1", "AWS_CONFIG_FILE=" + filepath.Join(dir, "none"), "AWS_SHARED_CREDENTIALS_FILE=" + filepath.Join(dir, "none"),
	}
}

func (a *account) run(args ...string) string {
	a.Helper()
	out, err := a.command(args...).CombinedOutput()
	if err != nil {
		a.Fatalf("bake %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (a *account) fails(want string, args ...string) {
	a.Helper()
	out, err := a.command(args...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), want) {
		a.Errorf("bake %s: %v, want %q in\n%s", strings.Join(args, " "), err, want, out)
	}
	if strings.Contains(string(out), "a very secret key") {
		a.Errorf("the secret key is shown:\n%s", out)
	}
}

// TestPublished goes the way of a user: an image, the same again, a changed one,
// other permissions, mistakes, and back into a file.
func TestPublished(t *testing.T) {
	a := newAccount(t, published)
	a.fails("the artifact web is an image of aws, and has no disk", "run", "web")
	if n := a.cloud.Count("StartSnapshot"); n != 0 {
		t.Error("bake run has published the image")
	}
	out := a.run("build", "--progress=plain")
	images := a.cloud.Images("eu-west-1")
	if len(images) != 1 || len(a.cloud.Images("us-east-1")) != 1 {
		t.Fatalf("images %v\n%s", images, out)
	}
	for _, want := range []string{images[0].ID + " in eu-west-1 (" + images[0].Name + ")", " in us-east-1 (" + images[0].Name + ")"} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q in\n%s", want, out)
		}
	}
	before := a.cloud.Requests()
	if out := a.run("build", "--progress=plain"); !strings.Contains(out, "nothing to do") {
		t.Errorf("the second build:\n%s", out)
	}
	if n := a.cloud.Requests() - before; n != 2 {
		t.Errorf("%d requests found that nothing has changed in two regions", n)
	}
	out = a.run("build", "--progress=plain", "-p", "number=1")
	if !strings.Contains(out, "on top of snap-") || len(a.cloud.Images("eu-west-1")) != 2 {
		t.Errorf("a changed image:\n%s", out)
	}
	a.define(strings.Replace(published, "123456789012", "210987654321", 1))
	a.run("build", "--progress=plain")
	if got := a.cloud.Images("us-east-1")[0].Permissions; len(got) != 1 || got[0] != "210987654321" || len(a.cloud.Images("us-east-1")) != 2 {
		t.Errorf("permissions %v", got)
	}

	a.run("pull", images[0].ID, "--region", "eu-west-1", "-o", "back.raw", "--progress=plain")
	back, err := os.ReadFile(filepath.Join(a.dir, "back.raw"))
	if err != nil || len(back) != 1<<30 {
		t.Fatalf("%d bytes were read back, %v", len(back), err)
	}
	if !bytes.Contains(back[:256<<20], []byte("no initial RAM disk\n")) {
		t.Error("the image that was read back is not ours")
	}
	a.run("pull", images[0].ID, "-o", "back.qcow2", "--progress=plain")
	if out, err := exec.Command("qemu-img", "compare", filepath.Join(a.dir, "back.raw"), filepath.Join(a.dir, "back.qcow2")).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}

	a.fails("back.raw is there already", "pull", images[0].ID, "-o", "back.raw")
	a.fails("there is no image ami-1", "pull", "ami-1", "-o", "other.raw")
	a.fails("the name ends in none of", "pull", "ami-1", "-o", "other.iso")
	for _, c := range []struct{ old, new, want string }{
		{`"us-east-1"`, `"us-east-9"`, "images.star:8:7: regions: AWS has no region us-east-9"},
		{`"123456789012"`, `"1234"`, `share_with: "1234" is neither an account number`},
		{"share_with", "share_wit", `unknown keyword "share_wit" (did you mean "share_with"?)`},
		{`"256M"`, `"256M", formats = ["raw"]`, "formats: an image that is registered has no files"},
		{`size = "256M"`, `image_name = "taken"`, ""},
		{`"256M"`, `"300M", image_name = "taken"`, "the name taken is taken by the image ami-"},
	} {
		a.define(strings.Replace(published, c.old, c.new, 1))
		if c.want == "" {
			a.run("build", "--progress=plain")
		} else {
			a.fails(c.want, "build")
		}
	}
	if out := a.run("gc"); !strings.Contains(out, "nothing is left behind") {
		t.Errorf("gc: %s", out)
	}
	a.fails("--platform: no platform is called \"asw\" (did you mean \"aws\"?)", "gc", "--platform", "asw")
}

// TestGateOfPublications keeps an image back whose layer's test fails.
func TestGateOfPublications(t *testing.T) {
	a := newAccount(t, published+`test(m, "false", name = "fails")`+"\n")
	a.fails("fails", "build", "web")
	if n := a.cloud.Count("StartSnapshot"); n != 0 {
		t.Errorf("%d snapshots were begun", n)
	}
}

// TestUEFIDiskIsPublishedAsSuch registers the disk of a machine that boots by UEFI, which
// no option of the export says.
func TestUEFIDiskIsPublishedAsSuch(t *testing.T) {
	need.Tool(t, "qemu-img")
	need.File(t, "/usr/share/OVMF/OVMF_CODE_4M.fd")
	disk := make([]byte, 1<<20)
	disk[510], disk[511] = 0x55, 0xaa
	for firmware, want := range map[string]string{"uefi": "uefi", "bios": ""} {
		a := newAccount(t, fmt.Sprintf("m = source(qemu(firmware = %q), disk = \"disk.raw\")\nexport(m, \"web\", to = [aws(region = \"eu-west-1\")])\n", firmware))
		if err := os.WriteFile(filepath.Join(a.dir, "disk.raw"), disk, 0o600); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var modes []string
		a.cloud.SetFault(func(c awstest.Call) *awstest.Fault {
			mu.Lock()
			defer mu.Unlock()
			if c.Op == "RegisterImage" && c.Form.Get("DryRun") != "true" {
				modes = append(modes, c.Form.Get("BootMode"))
			}
			return nil
		})
		a.run("build")
		if len(modes) != 1 || modes[0] != want {
			t.Errorf("firmware %s: registered with the boot modes %q, want %q", firmware, modes, want)
		}
		if out := a.run("build"); !strings.Contains(out, "nothing to do") {
			t.Errorf("firmware %s: built again:\n%s", firmware, out)
		}
	}
}

// TestKilledWhilePublishing kills builds with SIGKILL at fifty of their requests. Then
// gc leaves nothing but finished images, by the ledger of this host or, on another
// one, by tags alone.
func TestKilledWhilePublishing(t *testing.T) {
	need.Slow(t)
	t.Parallel()
	a := newAccount(t, published, func(c *awstest.Cloud) { c.Latency = 2 * time.Millisecond })
	a.run("build", "--progress=plain")
	whole := a.changes("build", "--progress=plain", "-p", "number=1")
	const rounds = 50
	hit, left := 0, 0
	for round := range rounds {
		number := strconv.Itoa(2 + round)
		if a.kill(1+round*whole/rounds, "build", "--progress=plain", "-p", "number="+number) {
			hit++
		}
		if a.unfinished() > 0 {
			left++
		}
		switch round % 3 {
		case 0:
			a.run("gc")
		case 1:
			other := a.command("gc", "--platform", "aws", "--older-than", "1ns")
			other.Env = append(other.Env, "BAKE_CACHE_DIR="+t.TempDir())
			if out, err := other.CombinedOutput(); err != nil {
				t.Fatalf("gc on another host: %v\n%s", err, out)
			}
		case 2:
			a.run("build", "--progress=plain", "-p", "number="+number)
			a.run("gc")
		}
		if n := a.unfinished(); n > 0 {
			t.Fatalf("round %d: %d things are left behind", round, n)
		}
	}
	t.Logf("%d of %d builds were killed, %d of them with something begun", hit, rounds, left)
	if hit < rounds*9/10 || left < rounds/3 {
		t.Errorf("%d builds were killed, %d with something begun: the moments are wrong", hit, left)
	}
}

// changing reports whether a request changes something: the number of the others depends
// on how long things take.
func changing(c awstest.Call) bool {
	for _, reads := range []string{"Describe", "Get", "List"} {
		if strings.HasPrefix(c.Op, reads) {
			return false
		}
	}
	return true
}

// changes runs bake and returns how many of its requests change something.
func (a *account) changes(args ...string) int {
	a.Helper()
	var n atomic.Int32
	before := a.cloud.SetFault(func(c awstest.Call) *awstest.Fault {
		if changing(c) {
			n.Add(1)
		}
		return nil
	})
	a.run(args...)
	a.cloud.SetFault(before)
	a.Logf("bake %s changes something %d times", strings.Join(args, " "), n.Load())
	return int(n.Load())
}

// kill runs bake and kills it with SIGKILL at its n-th request that changes something,
// which is done. It reports whether there was one.
func (a *account) kill(n int, args ...string) bool {
	a.Helper()
	cmd := a.command(args...)
	started := make(chan struct{})
	var seen atomic.Int32
	before := a.cloud.SetFault(func(c awstest.Call) *awstest.Fault {
		if changing(c) && int(seen.Add(1)) == n {
			<-started
			_ = cmd.Process.Kill() // Wait tells
		}
		return nil
	})
	if err := cmd.Start(); err != nil {
		a.Fatal(err)
	}
	close(started)
	killed := cmd.Wait() != nil
	a.cloud.Settle()
	a.cloud.SetFault(before)
	return killed
}

// unfinished counts the snapshots and images that no finished image is or has, but
// for layers.
func (a *account) unfinished() int {
	used := map[string]bool{}
	n := 0
	for _, region := range awstest.Regions {
		for _, i := range a.own(region) {
			if used[i.Snapshot] = true; i.Tags["bake:ready"] == "" {
				n++
			}
		}
	}
	for _, id := range a.cloud.Snapshots() {
		if !used[id] && a.cloud.Tags(id)["bake:key"] == "" {
			n++
		}
	}
	return n
}

// findMoto returns the command line of moto's server, as a program or as a module of
// Python, which a PATH without its scripts still finds.
func findMoto() []string {
	for _, command := range [][]string{{"moto_server"}, {"python3", "-m", "moto.server"}} {
		if exec.Command(command[0], append(command[1:], "--help")...).Run() == nil {
			return command
		}
	}
	return nil
}

// startMoto starts moto, AWS's stand-in of the Python world, which nobody here has
// written: what bake asks for has to make sense to it, too. It is no Debian package, so
// that such tests take place where it is installed, and there always.
func startMoto(t *testing.T) (address string) {
	t.Helper()
	command := findMoto()
	if command == nil {
		t.Skip("NOT CHECKED: that requests to AWS make sense to a server by another hand. Install it with: pip install 'moto[server]'")
	}
	said, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(command[0], append(command[1:], "-H", "127.0.0.1", "-p", "0")...) // it says which one is free
	cmd.Stdout, cmd.Stderr = w, w
	ended, err := tool.Start(cmd)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		<-ended
	})
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		if _, address, ok := strings.Cut(lines.Text(), "Running on http://"); ok {
			go func() { _, _ = io.Copy(io.Discard, said) }() // so that it never waits for a reader
			return address
		}
	}
	t.Fatalf("moto_server does not listen: %v", lines.Err())
	return ""
}

// TestAgainstMoto publishes an image on moto, which does not tell what snapshots an
// image is made of: deltas are tested against the stand-in of this repository.
func TestAgainstMoto(t *testing.T) {
	address := startMoto(t)
	a := newAccount(t, strings.Replace(published, `size = "256M"`, `size = "256M", ssm_parameter = "/images/web", keep = 1, retire_shared = True`, 1))
	build := func(args ...string) string {
		return a.at("http://"+address, append([]string{"build", "--progress=plain"}, args...)...)
	}
	if out := build(); !strings.Contains(out, "is copied to ami-") {
		t.Errorf("the first build:\n%s", out)
	}
	if out := build(); !strings.Contains(out, "nothing to do") {
		t.Errorf("the second build:\n%s", out)
	}
	if out := build("-p", "number=1"); strings.Count(out, ": deregistered web-") != 2 {
		t.Errorf("a changed image:\n%s", out)
	}
}

// at runs bake against another stand-in for AWS.
func (a *account) at(url string, args ...string) string {
	a.Helper()
	cmd := bakeIn(a.T, a.bin, a.dir, args...)
	cmd.Env = append(cmd.Env, awsEnvironment(url, a.dir)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		a.Fatalf("bake %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestGCOfAnotherAccount has credentials of another account see nothing of what a
// killed build has left, which is not gone.
func TestGCOfAnotherAccount(t *testing.T) {
	a := newAccount(t, published)
	a.cloud.Account("210987654321")
	a.cloud.SetFault(func(c awstest.Call) *awstest.Fault {
		if c.Op == "RegisterImage" && c.Form.Get("DryRun") != "true" {
			return &awstest.Fault{Drop: true}
		}
		return nil
	})
	a.fails("register the image", "build", "--progress=plain")
	a.cloud.SetFault(nil)
	cmd := a.command("gc")
	cmd.Env = append(cmd.Env, "AWS_ACCESS_KEY_ID=210987654321")
	out, err := cmd.CombinedOutput()
	want := "it is in the account 123456789012, and these credentials are those of 210987654321"
	if err != nil || !strings.Contains(string(out), want) || strings.Contains(string(out), "removed") || len(a.cloud.Snapshots()) != 1 {
		t.Errorf("gc of another account: %v\n%s", err, out)
	}
	if out := a.run("gc"); !strings.Contains(out, "removed aws snapshot") || !strings.Contains(out, "left alone aws image") || len(a.cloud.Snapshots()) != 0 {
		t.Errorf("gc: %s", out)
	}
	a.define(strings.Replace(published, `{"team": "web"}`, `{"bake:team": "web"}`, 1))
	a.fails(`images.star:8:27: aws: tags: "bake:team": tags that begin with bake: are bake's own`, "plan")
}
