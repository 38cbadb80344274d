package builtins

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"bake.build/bake/internal/spell"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/disk"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/op"
	"bake.build/bake/runtime/plan"
	"go.starlark.net/starlark"
)

func testBuiltin() Builtin {
	return Declare("test", `Tests a layer or an artifact on a throw-away machine, and fails the build when the test fails.

A test runs a script in the machine, waits until it listens on ports, or until its console shows something. An artifact is launched as a new machine, on the platform that it was made on or on another one: test(disk, "systemctl is-system-running --wait", on = qemu()). Without a script nobody logs in to it.

What is tested does not change. Steps on the tested layer and artifacts that are made of it wait for the test.`, "None", test)
}

type testArgs struct {
	Of starlark.Value `bake:"layer,required" help:"The layer or the artifact to test."`
	commandArgs
	On            *Platform      `bake:"on,keyword" help:"Platform to launch an artifact on, such as qemu()." default:"the artifact's platform"`
	Format        string         `bake:"format,keyword" help:"Format of the artifact to launch." default:"the first that is a disk"`
	ExpectPort    starlark.Value `bake:"expect_port,keyword" help:"A TCP port, or a list of ports, that must accept connections."`
	ExpectConsole string         `bake:"expect_console,keyword" help:"A regular expression that a line of the console must match."`
	StepOptions
}

// launchTimeout is how long a test of an artifact may take when it does not say.
const launchTimeout = 10 * time.Minute

func test(c *Call, a *testArgs) (starlark.Value, error) {
	t, title, err := a.what(c)
	if err != nil {
		return nil, err
	}
	n := &plan.Node{Op: t, Run: a.run()}
	switch v := a.Of.(type) {
	case *Layer:
		err = a.onLayer(c, n, v)
	case *Artifact:
		err = a.onArtifact(c, n, t, v)
	default:
		err = fmt.Errorf("layer: %w", wrongType(v, "layer or artifact"))
	}
	if err != nil {
		return nil, err
	}
	name := a.title("test: " + title)
	if a.Name == "" {
		name = c.freeName(name)
	} else if err := c.checkName(name); err != nil {
		return nil, err
	}
	n.Name = name
	c.Add(n)
	c.named[name] = n
	c.tests = append(c.tests, n)
	return starlark.None, nil
}

// what returns what is looked at, and what names it.
func (a *testArgs) what(c *Call) (*op.Test, string, error) {
	t := &op.Test{Console: a.ExpectConsole, Format: a.Format}
	if _, err := regexp.Compile(a.ExpectConsole); err != nil {
		return nil, "", fmt.Errorf("expect_console: %w", err)
	}
	var err error
	if t.Ports, err = asPorts(a.ExpectPort); err != nil {
		return nil, "", fmt.Errorf("expect_port: %w", err)
	}
	title := ""
	switch {
	case len(t.Ports) > 0:
		title = fmt.Sprintf("port %d", t.Ports[0])
	case t.Console != "":
		title = "console " + t.Console
	}
	if c.Given("command") || a.Script != "" || title == "" {
		t.Command, title, err = a.data(c)
	}
	return t, title, err
}

func asPorts(v starlark.Value) ([]int, error) {
	var values []starlark.Value
	switch v := v.(type) {
	case nil, starlark.NoneType:
		return nil, nil
	case starlark.Int:
		values = append(values, v)
	case starlark.Indexable:
		for i := range v.Len() {
			values = append(values, v.Index(i))
		}
	default:
		return nil, wrongType(v, "int or list of ints")
	}
	var ports []int
	for _, v := range values {
		i, ok := v.(starlark.Int)
		if !ok {
			return nil, wrongType(v, "int")
		}
		n, ok := i.Int64()
		if !ok || n < 1 || n > 65535 {
			return nil, fmt.Errorf("%s is no TCP port", v)
		}
		ports = append(ports, int(n))
	}
	return ports, nil
}

// onLayer makes n a test of a layer.
func (a *testArgs) onLayer(c *Call, n *plan.Node, layer *Layer) error {
	for _, option := range []string{"on", "format"} {
		if c.Given(option) {
			return fmt.Errorf("%s: belongs to the test of an artifact", option)
		}
	}
	for _, option := range []string{"expect_port", "expect_console"} {
		if !c.Given(option) {
			continue
		}
		if err := c.needsBoot(layer.platform, "start no services: test the artifact on another platform, with on = qemu()"); err != nil {
			return fmt.Errorf("%s: %w", option, err)
		}
	}
	n.Platform, n.Deps = layer.node.Platform, []*plan.Node{layer.node}
	return nil
}

// onArtifact makes n a test of an artifact.
func (a *testArgs) onArtifact(c *Call, n *plan.Node, t *op.Test, artifact *Artifact) error {
	if artifact.on != nil {
		return errors.New("layer: an image that is registered is not launched: test the layer, or an artifact of it with files, and the image waits for that")
	}
	p := a.On
	if p == nil {
		p = artifact.layer.platform
	}
	if err := c.needsBoot(p, "cannot launch an artifact: say where with on = qemu()"); err != nil {
		return err
	}
	if err := a.checkFormat(c, artifact); err != nil {
		return err
	}
	if e, ok := artifact.node.Op.(*export.Op); ok {
		if e.Boot == disk.BootNone {
			return errors.New("layer: the artifact is a disk that does not boot, which no machine starts from")
		}
		t.UEFI = e.Boot == disk.BootUEFI
	}
	if n.Run.Timeout == 0 {
		n.Run.Timeout = launchTimeout
	}
	n.Platform, n.Deps = p.plan, []*plan.Node{artifact.node}
	return nil
}

// checkFormat fails unless the artifact has a disk to launch.
func (a *testArgs) checkFormat(c *Call, artifact *Artifact) error {
	var disks []string
	for _, f := range c.Formats {
		if _, launches := platforms.DiskFormatNamed(f.Name); launches && f.From == export.FromDisk && slices.Contains(artifact.formats, f.Name) {
			disks = append(disks, f.Name)
		}
	}
	switch {
	case len(disks) == 0:
		return fmt.Errorf("layer: none of the artifact's formats, %s, is a disk that a machine starts from", strings.Join(artifact.formats, ", "))
	case a.Format != "" && !slices.Contains(disks, a.Format):
		return fmt.Errorf("format: the artifact has no %q%s", a.Format, spell.Hint(a.Format, "formats", disks))
	}
	return nil
}

// checkName fails when the name is another artifact's or test's.
func (c *Call) checkName(name string) error {
	if other, ok := c.named[name]; ok {
		return fmt.Errorf("the name %q is taken by the %s at %s", name, other.Op.Kind(), other.Pos[0])
	}
	return nil
}

// freeName returns name, with a number when it is taken.
func (c *Call) freeName(name string) string {
	free := name
	for i := 2; c.named[free] != nil; i++ {
		free = fmt.Sprintf("%s (%d)", name, i)
	}
	return free
}
