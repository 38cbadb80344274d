package all_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bake.build/bake/builtins"
	"bake.build/bake/internal/testsshd"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/all"
	"bake.build/bake/platforms/publish"
	"bake.build/bake/platforms/remote"
	"bake.build/bake/platforms/toycloud"
	"bake.build/bake/platforms/toycloud/server"
	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/export"
)

// cloudConfig is a program with the two toys besides its own platforms, whose definition
// is in dir. A store is a host's.
func cloudConfig(dir, store, endpoint string) build.Config {
	return build.Config{
		Platforms: append(all.Table(), hyperSpec(), toycloud.Spec()), Builtins: builtins.Table(), Formats: export.Formats(),
		Dir: dir, StoreDir: filepath.Join(dir, store), Params: []string{"endpoint=" + endpoint},
	}
}

// runAll builds all of a definition and returns how many nodes ran.
func runAll(ctx context.Context, c build.Config) (ran int, err error) {
	err = build.Use(ctx, c, "images.star", func(b *build.Build) error {
		targets, err := build.Choose(build.Targets(b.Definition), nil)
		if err != nil {
			return err
		}
		result, err := b.Run(ctx, targets, build.Options{})
		if result != nil {
			ran = result.Ran
		}
		return err
	})
	return ran, err
}

// childEnv names the directory, the store and the endpoint that the process of a build
// works with that is going to be killed.
const childEnv = "BAKE_TEST_CLOUD_CHILD"

// TestCloudChild is that process.
func TestCloudChild(t *testing.T) {
	given := strings.Fields(os.Getenv(childEnv))
	if len(given) == 0 {
		t.Skip("it is for TestCloudIsItsFolderAndALine")
	}
	_, err := runAll(t.Context(), cloudConfig(given[0], given[1], given[2]))
	t.Fatalf("the build came to its end: %v", err)
}

const (
	cloudHead = `
endpoint = param("endpoint")
word = param("word", default = "one")
cloud = toycloud(endpoint = endpoint, checkpoint = "every-step")
`
	// cloudDisks has the disk of a virtual machine registered in two places.
	cloudDisks = cloudHead + `
vm = shell(source(hyper(user = "root"), scratch = True), "echo " + word + " >/etc/word")
export(vm, "web", to = [cloud], places = ["there"], labels = {"team": "web"}, keep = 1)
`
	// cloudSteps runs steps in instances of two images, and registers a layer.
	cloudSteps = cloudHead + `
m = shell(source(cloud, image = %q), 'echo "$(cat /etc/word 2>/dev/null || echo none)" and two >/etc/site')
m = shell(m, "echo more >>/etc/site")
test(m, "grep -q more /etc/site")
output(m, "/etc/site", "site")
export(m, "native", to = [cloud])
`
)

// A cloudTest is a project, and the cloud that it builds on.
type cloudTest struct {
	*testing.T
	cloud *server.Cloud
	dir   string
}

func newCloudTest(t *testing.T) *cloudTest {
	needHyper(t)
	c := &cloudTest{T: t, dir: t.TempDir()}
	var err error
	fleet := &testsshd.Fleet{Dir: t.TempDir()}
	t.Cleanup(fleet.Close)
	if c.cloud, err = server.Start(t.TempDir(), fleet); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.cloud.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func (c *cloudTest) define(text string) {
	c.Helper()
	for name, text := range map[string]string{"BAKE_ROOT": "acme/images\n", "images.star": text} {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o644); err != nil {
			c.Fatal(err)
		}
	}
}

// run builds on the host that has the store.
func (c *cloudTest) run(store string, params ...string) (ran int) {
	c.Helper()
	config := cloudConfig(c.dir, store, c.cloud.Endpoint())
	config.Params = append(config.Params, params...)
	ran, err := runAll(c.Context(), config)
	if err != nil {
		c.Fatal(err)
	}
	return ran
}

// there returns the finished images, as "place name labels", and fails where anything is
// left of builds.
func (c *cloudTest) there() (list []string) {
	c.Helper()
	for _, t := range c.cloud.All(server.Query{Tag: publish.Build}) {
		switch {
		case t.Tags[remote.Key] != "": // a layer
		case t.Tags[publish.Ready] == "":
			c.Errorf("%s is left", t.ID)
		default:
			list = append(list, t.Place+" "+strings.Split(t.Name, "-")[0]+" "+t.Tags["team"])
		}
	}
	slices.Sort(list)
	return list
}

func (c *cloudTest) want(list ...string) {
	c.Helper()
	if got := c.there(); !slices.Equal(got, list) {
		c.Errorf("the images are %q, want %q", got, list)
	}
}

// TestCloudIsItsFolderAndALine publishes on a cloud that nothing else knows of, runs its
// instances, is killed and cleaned up after.
func TestCloudIsItsFolderAndALine(t *testing.T) {
	c := newCloudTest(t)
	c.define(cloudDisks)
	c.killed("there")
	c.gc("host")
	if left := c.there(); len(left) > 0 { // unless it was killed before the first one was finished
		c.want("here web web")
	}
	if n := c.run("host"); n == 0 {
		t.Error("nothing ran after the crash")
	}
	c.want("here web web", "there web web")
	if n := c.run("host"); n != 0 {
		t.Errorf("%d nodes ran again", n)
	}

	// What is taken out of the definition is taken off the image, and away.
	c.define(strings.NewReplacer(`places = ["there"], `, "", `"team": "web"`, `"owner": "ann"`).Replace(cloudDisks))
	c.run("host")
	c.want("here web ")
	c.run("host", "word=three")
	c.want("here web ")

	// An instance of what was published, and one of the cloud's own.
	published := c.cloud.All(server.Query{Kind: server.Image, Tag: publish.Artifact, Values: []string{"web"}})[0].Name
	for image, want := range map[string]string{published: "three and two\nmore\n", "distribution": "none and two\nmore\n"} {
		c.define(fmt.Sprintf(cloudSteps, image))
		c.run("host")
		if got, err := os.ReadFile(filepath.Join(c.dir, "out/site/site")); err != nil || string(got) != want {
			t.Errorf("the site of %s is %q, %v", image, got, err)
		}
	}
	c.want("here native ", "here native ", "here web ")

	// Another host has the layers from the cloud.
	made := len(c.cloud.All(server.Query{}))
	if n := c.run("another"); n != 1 { // the test, whose record is the other host's
		t.Errorf("%d nodes ran on another host, want 1", n)
	}
	if n := len(c.cloud.All(server.Query{})); n != made {
		t.Errorf("%d layers were made again", n-made)
	}
	c.prune()
}

// killed kills a build while the image is being made in a place.
func (c *cloudTest) killed(place string) {
	c.Helper()
	asked := make(chan struct{})
	hold := make(chan struct{})
	c.cloud.OnCreate(func(r server.Creation) {
		if r.Kind == server.Image && r.Place == place {
			close(asked)
			<-hold
		}
	})
	child := exec.Command(os.Args[0], "-test.run=^TestCloudChild$")
	child.Env = append(os.Environ(), childEnv+"="+strings.Join([]string{c.dir, "host", c.cloud.Endpoint()}, " "))
	said, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		c.Fatal(err)
	}
	ended := make(chan string, 1)
	go func() {
		var lines []string
		for s := bufio.NewScanner(said); s.Scan(); {
			lines = append(lines, s.Text())
		}
		ended <- strings.Join(lines, "\n")
	}()
	select {
	case <-asked:
	case lines := <-ended:
		c.Fatalf("the build ended: %v\n%s", child.Wait(), lines)
	}
	if err := child.Process.Kill(); err != nil {
		c.Fatal(err)
	}
	<-ended
	if err := child.Wait(); err == nil {
		c.Fatal("the build ended by itself")
	}
	c.cloud.OnCreate(nil)
	close(hold)
}

// gc cleans up: by what the ledger of the host tells, and then by tags alone.
func (c *cloudTest) gc(store string) {
	c.Helper()
	options, err := json.Marshal(toycloud.Options{Endpoint: c.cloud.Endpoint()})
	if err != nil {
		c.Fatal(err)
	}
	h, err := build.OpenHost(cloudConfig(c.dir, store, c.cloud.Endpoint()))
	if err != nil {
		c.Fatal(err)
	}
	var removed []string
	collect := func(what build.Collection) error {
		return h.Collect(c.Context(), what, func(got build.Collected) { removed = append(removed, got.Of+" "+build.ResourceName(got.Resource)) },
			func(u *platforms.Unseen) { c.Errorf("unseen: %v", u) })
	}
	now := time.Now().Add(time.Second)
	err = errors.Join(collect(build.Collection{Before: now}), collect(build.Collection{Platform: "toycloud", Options: options, Before: now, TaggedBefore: now}), h.Close())
	if err != nil {
		c.Fatal(err)
	}
	if len(removed) == 0 {
		c.Error("nothing was to be cleaned up")
	}
}

// prune removes all layers.
func (c *cloudTest) prune() {
	c.Helper()
	d, err := toycloud.Spec().New(json.RawMessage(fmt.Sprintf(`{"endpoint":%q}`, c.cloud.Endpoint())), ledgerless{directory{dir: c.TempDir()}})
	if err != nil {
		c.Fatal(err)
	}
	layers := c.cloud.All(server.Query{Tag: remote.Key})
	pruned, err := d.(platforms.Pruner).PruneLayers(c.Context(), platforms.LayerPruning{MadeBefore: time.Now()})
	if err != nil || len(layers) == 0 || len(pruned) != len(layers) || len(c.cloud.All(server.Query{Tag: remote.Key})) != 0 {
		c.Errorf("pruned %d of %d layers: %v", len(pruned), len(layers), err)
	}
}

// A ledgerless host records nothing.
type ledgerless struct{ directory }

func (ledgerless) Ledger() platforms.Ledger { return noLedger{} }

type noLedger struct{}

func (noLedger) Begin(platforms.Resource) (func() error, error) {
	return func() error { return nil }, nil
}
func (noLedger) Build() string   { return "build" }
func (noLedger) Project() string { return "acme/images" }
