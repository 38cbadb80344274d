package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"bake.build/bake/internal/need"
	"bake.build/bake/internal/testsshd"
	"bake.build/bake/platforms/aws/awstest"
)

// native is a definition whose steps run in instances.
const native = `
number = param("number", default = 0)

eu = aws(region = "eu-west-1", user = "root", boot_timeout = "30s")
m = source(eu, ami_filter = {"owner": "136693071363", "name": "debian-12-amd64-*"})
m = shell(m, "echo base >/etc/base")
m = copy(m, "site", "/srv/site")
m = shell(m, "echo %d >/etc/number" % number, name = "number")
test(m, "grep -qx %d /etc/number && grep -qx base /etc/base && grep -q hello /srv/site/index.html" % number)
export(m, "web", regions = ["us-east-1"], share_with = ["123456789012"])
`

const debianAMI = "debian-12-amd64-20261101-1"

// newCloud is newAccount with instances that can be logged in to.
func newCloud(t *testing.T, definition string, setup ...func(*awstest.Cloud)) (a *account, ami string) {
	t.Helper()
	need.Root(t)
	need.Tool(t, testsshd.Tools...)
	fleet := &testsshd.Fleet{Dir: t.TempDir()}
	t.Cleanup(fleet.Close)
	a = &account{T: t, bin: buildBake(t), dir: t.TempDir()}
	a.cloud = awstest.New(append(setup, func(c *awstest.Cloud) { c.Machines = fleet })...)
	t.Cleanup(a.cloud.Close)
	if err := os.Mkdir(filepath.Join(a.dir, "site"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(a.dir, "site", "index.html"), []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	a.define(definition)
	return a, a.cloud.AddImage("eu-west-1", awstest.Image{Name: debianAMI})
}

// own returns the account's own images in a region.
func (a *account) own(region string) []awstest.Image {
	var list []awstest.Image
	for _, i := range a.cloud.Images(region) {
		if i.Owner == "self" {
			list = append(list, i)
		}
	}
	return list
}

// idle wants nothing to run and nothing to be in the ledger.
func (a *account) idle() {
	a.Helper()
	if running := a.cloud.Running(); len(running) > 0 {
		a.Errorf("left: %v", running)
	}
	if out := a.run("gc"); !strings.Contains(out, "nothing is left behind") {
		a.Errorf("gc: %s", out)
	}
}

// TestInstances goes the way of a user whose steps run in instances.
func TestInstances(t *testing.T) {
	a, ami := newCloud(t, native)
	out := a.run("build", "--progress=plain")
	images := a.own("eu-west-1")
	if len(images) != 1 || len(a.own("us-east-1")) != 1 || !strings.Contains(out, images[0].ID+" in eu-west-1 ("+images[0].Name+")") {
		t.Fatalf("images %+v\n%s", images, out)
	}
	if n := a.cloud.Count("RunInstances"); n != 2 { // one for the steps, one for the test
		t.Errorf("%d instances were launched\n%s", n, out)
	}
	if n := a.cloud.Count("CreateSnapshot"); n != 2 { // one of them a dry run
		t.Errorf("%d snapshots were made", n-1)
	}
	lock, err := os.ReadFile(filepath.Join(a.dir, "bake.lock"))
	if err != nil || !strings.Contains(string(lock), ami) {
		t.Errorf("the lock file %s, %v", lock, err)
	}
	a.idle()

	before := a.cloud.Requests()
	if out := a.run("build", "--progress=plain"); !strings.Contains(out, "nothing to do") {
		t.Errorf("the second build:\n%s", out)
	}
	if n := a.cloud.Requests() - before; n > 4 { // two for the image, two for the test's layer
		t.Errorf("%d requests found that nothing has changed", n)
	}

	// A changed last step. The steps were too short to leave layers.
	out = a.run("build", "--progress=plain", "-p", "number=1")
	if len(a.own("eu-west-1")) != 2 {
		t.Errorf("a changed image:\n%s", out)
	}
	// Another host of the same account has nothing to do but to look.
	launched := a.cloud.Count("RunInstances")
	other := a.command("build", "--progress=plain", "-p", "number=1")
	other.Env = append(other.Env, "BAKE_CACHE_DIR="+t.TempDir())
	if out, err := other.CombinedOutput(); err != nil || a.cloud.Count("RunInstances")-launched != 1 { // for the test, which this host has not seen pass
		t.Errorf("another host: %v, %d instances\n%s", err, a.cloud.Count("RunInstances")-launched, out)
	}

	// With a policy of every step, a changed last step begins on the one before.
	every := strings.Replace(native, `boot_timeout`, `checkpoint = "every-step", boot_timeout`, 1)
	a.define(every)
	a.run("build", "--progress=plain", "-p", "number=2")
	out = a.run("build", "--progress=plain", "-p", "number=3")
	if !strings.Contains(out, "3 cached, 3 run") || !strings.Contains(out, "from snap-") {
		t.Errorf("a changed last step:\n%s", out)
	}
	a.idle()

	// Into files: the layer is read back.
	a.define(every + `export(m, "local", formats = ["raw"])` + "\n")
	a.run("build", "--progress=plain", "-p", "number=3", "local")
	if info, err := os.Stat(filepath.Join(a.dir, "out", "local", "local.raw")); err != nil || info.Size() != 1<<30 {
		t.Errorf("the disk: %v, %v", info, err)
	}

	for _, c := range []struct{ old, new, want string }{
		{`"owner": "136693071363", `, ``, `ami_filter: "owner" is missing`},
		{`"debian-12-amd64-*"`, `"debian-13-*"`, "images.star:5:11: source: eu-west-1: no AMI fits the filter"},
		{`user = "root"`, `usr = "root"`, `unknown keyword "usr" (did you mean "user"?)`},
		{`user = "root"`, `connect = "session-manager"`, "Session Manager needs an instance_profile"},
		{`regions =`, `to = [aws(region = "us-east-1")], regions =`, "to: a layer of aws is registered by the aws() that it was made with"},
		{`regions =`, `size = "4G", regions =`, "size: the image is made of the machine's own disk"},
		{`name = "number"`, `name = "number", valid_exit_codes = [7]`, "number"},
		{`regions = ["us-east-1"]`, `formats = ["qcow2"], regions = ["us-east-1"]`, "regions: belongs to an image that is registered"},
	} {
		a.define(strings.Replace(native, c.old, c.new, 1))
		a.fails(c.want, "build")
	}
	a.idle()
	a.prunes()
}

// prunes removes layers with bake cache prune.
func (a *account) prunes() {
	a.Helper()
	before := len(a.cloud.Snapshots())
	out := a.run("cache", "prune", "--platform", "aws", "--older-than", "1ns", "--dry-run")
	if !strings.Contains(out, "would remove snap-") || len(a.cloud.Snapshots()) != before {
		a.Errorf("prune --dry-run: %s", out)
	}
	a.run("cache", "prune", "--platform", "aws", "--unused-for", "1h")
	if len(a.cloud.Snapshots()) != before {
		a.Error("what was used lately is gone")
	}
	a.run("cache", "prune", "--platform", "aws", "--older-than", "1ns")
	used := map[string]bool{}
	for _, region := range awstest.Regions {
		for _, i := range a.own(region) {
			used[i.Snapshot] = true
		}
	}
	for _, id := range a.cloud.Snapshots() {
		if !used[id] {
			a.Errorf("%s is left", id)
		}
	}
}

// TestFailingStep leaves no instance when a step fails, and goes on from the layers
// that were kept.
func TestFailingStep(t *testing.T) {
	broken := strings.Replace(native, "echo %d >/etc/number\" % number", "exit %d\" % (7 - number)", 1)
	broken = strings.Replace(broken, `boot_timeout`, `checkpoint = "every-step", boot_timeout`, 1)
	a, _ := newCloud(t, broken)
	a.fails("exit status 7", "build", "--progress=plain")
	a.idle()
	if n := len(a.cloud.Snapshots()); n != 2 {
		t.Errorf("%d layers were kept", n)
	}
	text, err := a.command("build", "--progress=plain", "--on-error=keep").CombinedOutput()
	if err == nil || !strings.Contains(string(text), "from snap-") || len(a.cloud.Snapshots()) != 3 {
		t.Errorf("%v, %d layers\n%s", err, len(a.cloud.Snapshots()), text)
	}
	t.Logf("%s", text)
	a.idle()

	// The state at the failure can be looked at, and so can any layer.
	_, key, _ := strings.Cut(string(text), "bake shell images.star ")
	key, _, _ = strings.Cut(key, "\n")
	for _, layer := range []string{strings.TrimSpace(key), "shell: echo base >/etc/base", "source: ami_filter"} {
		shell := a.command("shell", layer)
		shell.Stdin = strings.NewReader("test -e /etc/base && echo there is a base; exit 0\n")
		text, err := shell.CombinedOutput()
		if base := strings.Contains(string(text), "there is a base"); err != nil || base != !strings.HasPrefix(layer, "source") {
			t.Errorf("bake shell %q: %v\n%s", layer, err, text)
		}
	}
	a.idle()
}

// TestKilledWithInstances kills builds with SIGKILL at fifty moments. Then gc leaves
// nothing but layers and finished images, by the ledger of this host or, on another
// one, by tags alone.
func TestKilledWithInstances(t *testing.T) {
	need.Slow(t)
	t.Parallel()
	definition := strings.Replace(native, `boot_timeout`, `checkpoint = "every-step", boot_timeout`, 1)
	a, _ := newCloud(t, strings.Replace(definition, "test(m", "False and test(m", 1), func(c *awstest.Cloud) { c.Pending = 1 })
	a.run("build", "--progress=plain")
	whole := a.changes("build", "--progress=plain", "-p", "number=1")
	const rounds = 50
	hit, left := 0, 0
	for round := range rounds {
		number := strconv.Itoa(2 + round)
		if a.kill(1+round*whole/rounds, "build", "--progress=plain", "-p", "number="+number) {
			hit++
		}
		if len(a.cloud.Running()) > 0 {
			left++
		}
		gc := a.command("gc")
		if round%2 == 1 {
			gc = a.command("gc", "--platform", "aws", "--older-than", "1ns")
			gc.Env = append(gc.Env, "BAKE_CACHE_DIR="+t.TempDir())
		}
		if out, err := gc.CombinedOutput(); err != nil {
			t.Fatalf("round %d: gc: %v\n%s", round, err, out)
		}
		if running := a.cloud.Running(); len(running) > 0 {
			t.Fatalf("round %d: left: %v", round, running)
		}
		if n := a.unfinished(); n > 0 {
			t.Fatalf("round %d: %d images or snapshots are left", round, n)
		}
	}
	t.Logf("%d of %d builds were killed, %d of them with something that runs", hit, rounds, left)
	if hit < rounds*9/10 || left < rounds/3 {
		t.Errorf("%d builds were killed, %d with something that runs: the moments are wrong", hit, left)
	}
	a.run("build", "--progress=plain", "-p", "number=60")
	a.run("cache", "prune", "--platform", "aws", "--older-than", "1ns")
	if n := len(a.cloud.Snapshots()) - len(a.own("eu-west-1")) - len(a.own("us-east-1")); n != 0 {
		t.Errorf("%d snapshots are left that are of no image", n)
	}
}

// A motoFront stands before moto and makes its instances real: the machine that moto
// only tells of is started with the key pair that was imported.
type motoFront struct {
	*testing.T
	proxy *httputil.ReverseProxy

	mu      sync.Mutex
	key     string
	machine *testsshd.Server
}

// motoMachine is the address of all instances, in a subnet of motoVPC.
const (
	motoVPC     = "127.20.0.0/16"
	motoSubnet  = "127.20.1.0/24"
	motoMachine = "127.20.1.77"
)

func (f *motoFront) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		f.Error(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, err := url.ParseQuery(string(body))
	if err == nil {
		f.watch(form)
	}
	f.proxy.ServeHTTP(w, r)
}

func (f *motoFront) watch(form url.Values) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch action := form.Get("Action"); {
	case action == "ImportKeyPair":
		key, err := base64.StdEncoding.DecodeString(form.Get("PublicKeyMaterial"))
		if err != nil {
			f.Error(err)
		}
		f.key = string(key)
	case action == "RunInstances" && f.machine == nil:
		f.machine = &testsshd.Server{Dir: f.TempDir(), Address: motoMachine + ":22", AuthorizedKeys: f.key}
		if err := f.machine.Start(); err != nil {
			f.Error(err)
		}
	case action == "TerminateInstances" && form.Get("DryRun") != "true":
		f.stop()
	}
}

func (f *motoFront) stop() {
	if f.machine == nil {
		return
	}
	if err := f.machine.Stop(); err != nil {
		f.Error(err)
	}
	f.machine = nil
}

// TestInstancesAgainstMoto runs steps in instances that moto tells of.
func TestInstancesAgainstMoto(t *testing.T) {
	address := startMoto(t)
	a, _ := newCloud(t, "")
	f := &motoFront{T: t, proxy: httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address})}
	front := httptest.NewServer(f)
	defer front.Close()
	defer f.stop()
	client := ec2.New(ec2.Options{
		Region: "eu-west-1", BaseEndpoint: aws.String(front.URL),
		Credentials: credentials.NewStaticCredentialsProvider("key", "a very secret key", ""),
	})
	vpc, err := client.CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String(motoVPC)})
	if err != nil {
		t.Fatal(err)
	}
	subnet, err := client.CreateSubnet(t.Context(), &ec2.CreateSubnetInput{VpcId: vpc.Vpc.VpcId, CidrBlock: aws.String(motoSubnet)})
	if err != nil {
		t.Fatal(err)
	}
	definition := strings.NewReplacer(
		`user = "root"`, fmt.Sprintf(`user = "root", connect = "private", subnet = %q, private_ip = %q, checkpoint = "every-step"`, *subnet.Subnet.SubnetId, motoMachine),
		`"owner": "136693071363", "name": "debian-12-amd64-*"`, `"owner": "099720109477", "name": "ubuntu/images/*"`,
	).Replace(native)
	// moto's snapshots are empty: what a test would look for in a new instance is not
	// there.
	a.define(strings.Replace(definition, "test(m", "False and test(m", 1))
	out := a.at(front.URL, "build", "--progress=plain")
	if !strings.Contains(out, "launched i-") || !strings.Contains(out, " in us-east-1 (web-") {
		t.Errorf("the first build:\n%s", out)
	}
	if out := a.at(front.URL, "build", "--progress=plain"); !strings.Contains(out, "nothing to do") {
		t.Errorf("the second build:\n%s", out)
	}
	if out := a.at(front.URL, "build", "--progress=plain", "-p", "number=1"); !strings.Contains(out, "from snap-") {
		t.Errorf("a changed last step:\n%s", out)
	}
	if out := a.at(front.URL, "gc", "--platform", "aws", "--older-than", "1ns"); !strings.Contains(out, "nothing is left behind") {
		t.Errorf("gc: %s", out)
	}
	// moto's images do not tell their snapshots, so that no layer counts as used.
	if out := a.at(front.URL, "cache", "prune", "--platform", "aws", "--older-than", "1ns"); !strings.Contains(out, "removed 4 layers") {
		t.Errorf("prune: %s", out)
	}
}
