package builtins

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"bake.build/bake/internal/lazyregexp"
	"bake.build/bake/internal/ovf"
	"bake.build/bake/internal/spell"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/disk"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/plan"
	"go.starlark.net/starlark"
)

func exportBuiltin() Builtin {
	return Declare("export", `Writes a layer as an image, in one or more formats, and returns the artifact.

With to = [aws()] the layer's disk is registered as an image of that platform, whichever one made the layer: the options are then those of the platform as well, listed below. It waits for all tests of the layer and of its other artifacts. A layer of a platform that registers images is registered there unless to or formats is given. With several platforms in to, a list of artifacts is returned.

The name is how users address the artifact on the command line, and begins the names of its files. Where one name is exported on several platforms, the artifacts are called name@platform, by the name that a platform has been given or else by its kind, and so are the directories of their files.`,
		"artifact", exportLayer)
}

type exportArgs struct {
	Layer       *Layer      `bake:"layer,required" help:"The layer to write."`
	Name        string      `bake:"name,required" help:"The artifact's name: letters, digits, \".\", \"-\" and \"_\"."`
	Formats     Paths       `bake:"formats,keyword" help:"The formats of its files; see the list below." default:"[\"qcow2\"], where to is not given"`
	Size        Size        `bake:"size,keyword" help:"Size of the disk, such as \"4G\". On platforms whose machines have a disk, it can only grow; the machine's partitions are left as they are." default:"what its files need, with room to spare, or that of the machine's disk"`
	Boot        string      `bake:"boot,keyword" help:"Boot mode of the disk: \"bios+uefi\", \"bios\", \"uefi\" or \"none\"." default:"\"bios+uefi\", or \"uefi\" where there is no BIOS"`
	KernelArgs  Words       `bake:"kernel_args,keyword" help:"Additional kernel arguments."`
	Disk        int         `bake:"disk,keyword" help:"Which of the machine's disks is written: 1 is the one that it boots from; those of the platform's option disks follow." default:"1"`
	Compression string      `bake:"compression,keyword" help:"How formats that can be compressed are: \"zstd\", \"zlib\" or \"none\"." default:"what each format does best"`
	Config      ImageConfig `bake:"config,keyword" help:"How containers of the image run, for the formats oci and docker: a dict with any of entrypoint, cmd, ports, volumes (lists), env, labels (dicts), user, workdir, stop_signal and tag (strings). What it does not say stays as the image that the layer begins on has it; env, labels, ports and volumes are added to, and entrypoint drops that image's cmd." default:"the imported image's, or cmd /bin/sh; tag latest"`
	Hardware    *Hardware   `bake:"hardware,keyword" help:"What the formats with a descriptor say of the machine, such as hardware(cpus = 4, guest_os = \"debian12\")." default:"hardware()"`
	OVF         Descriptor  `bake:"ovf,keyword" help:"What the formats ova and ovf say besides: a dict with any of version (\"1.0\", \"1.1\", \"2.0\"), flavor (\"generic\", \"vmware\", \"virtualbox\"), digest (\"sha256\", \"sha1\"), product, vendor, release, product_url, vendor_url, annotation, eula (strings), properties (a dict: the vApp properties with their defaults) and transport (a list of \"com.vmware.guestInfo\" and \"iso\")." default:"version 1.0, flavor generic, digest sha256"`
	Certificate string      `bake:"certificate,keyword" help:"A file with the certificate, as PEM, that the formats ova and ovf are signed with, and after it those that it was issued by. The key is one of RSA."`
	SigningKey  *Secret     `bake:"signing_key,keyword" help:"The private key of the certificate, as PEM without a passphrase, such as secret(\"ovf-key\")."`
	To          Platforms   `bake:"to,keyword" help:"Platforms to register the image on, such as [aws()]. Only manifest.json is written then, with the ids of the images."`
	StepOptions
	Options []starlark.Tuple `bake:"**"`
}

var (
	artifactName = lazyregexp.New(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	compressions = []string{"zstd", "zlib", "none"}
)

func exportLayer(c *Call, a *exportArgs) (starlark.Value, error) {
	if !artifactName.MatchString(a.Name) {
		return nil, fmt.Errorf("name: %q: want letters, digits, \".\", \"-\" and \"_\"", a.Name)
	}
	for _, suffix := range export.Suffixes() {
		if strings.HasSuffix(a.Name, suffix) {
			return nil, fmt.Errorf("name: %q: names that end with %q are those of artifacts whose tests have not passed", a.Name, suffix)
		}
	}
	if !c.Given("to") && !c.Given("formats") {
		if spec, err := c.spec(a.Layer.platform.plan.Name); err == nil && spec.Publishes {
			a.To = Platforms{a.Layer.platform}
		}
	}
	if len(a.To) > 0 || c.Given("to") {
		return publishLayer(c, a)
	}
	if len(a.Options) > 0 {
		return nil, c.notOfFiles(string(a.Options[0][0].(starlark.String)), a.Layer.platform)
	}
	formats, err := checkFormats(a.Formats, c.Formats.Names())
	if err != nil {
		return nil, fmt.Errorf("formats: %w", err)
	}
	if err := c.checkDisk(a, formats); err != nil {
		return nil, err
	}
	boot, err := oneOf("boot", a.Boot, disk.Boots())
	if err != nil {
		return nil, err
	}
	compression, err := oneOf("compression", a.Compression, compressions)
	if err != nil {
		return nil, err
	}
	if err := c.onlyDisks(formats); err != nil {
		return nil, err
	}
	if c.Given("config") && !slices.Contains(formats, "oci") && !slices.Contains(formats, "docker") {
		return nil, fmt.Errorf("config: none of the formats %s is a container image", strings.Join(formats, ", "))
	}
	if err := c.ownDisk(a.Layer.platform); err != nil {
		return nil, err
	}
	artifact := &Artifact{layer: a.Layer, name: a.Name, target: a.Name, formats: formats}
	if err := c.checkArtifact(artifact); err != nil {
		return nil, err
	}
	op := &export.Op{
		Name:        a.Name,
		Formats:     formats,
		Size:        int64(a.Size),
		Boot:        boot,
		KernelArgs:  strings.Join(a.KernelArgs, " "),
		Disk:        a.Disk,
		Compression: compression,
		Writer:      export.Writer,
		Config:      json.RawMessage(a.Config),
		Hardware:    a.Hardware.text(),
		OVF:         json.RawMessage(a.OVF),
	}
	if err := c.sign(a, op); err != nil {
		return nil, err
	}
	if err := c.checkDescribed(op); err != nil {
		return nil, err
	}
	uses, err := c.diskFor(a, op)
	if err != nil {
		return nil, err
	}
	artifact.node = c.Add(&plan.Node{
		Op:       op,
		Platform: a.Layer.node.Platform,
		Deps:     []*plan.Node{a.Layer.node},
		Uses:     uses,
		Name:     a.title("export: " + a.Name),
		Run:      a.run(),
	})
	c.artifacts = append(c.artifacts, artifact)
	c.named[a.Name] = artifact.node
	return artifact, nil
}

// sign notes what the packages of op are signed with.
func (c *Call) sign(a *exportArgs, op *export.Op) error {
	if c.Given("certificate") != (a.SigningKey != nil) {
		return errors.New("certificate and signing_key go together")
	}
	if a.SigningKey == nil {
		return nil
	}
	const most = 1 << 20
	text, err := c.readText(a.Certificate, most)
	if err == nil {
		err = ovf.CheckCertificate([]byte(text))
	}
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	op.Certificate, op.SigningKey = text, a.SigningKey.name
	return c.useSecret(a.SigningKey, c.Pos())
}

// diskFor returns the nodes that the files of op are written from beside the layer.
// What leaves of a machine's layer leaves of its disk.
func (c *Call) diskFor(a *exportArgs, op *export.Op) ([]*plan.Node, error) {
	spec, err := c.spec(a.Layer.platform.plan.Name)
	if err != nil || !spec.Boots && !c.Formats.FromDisk(op.Formats) {
		return nil, err
	}
	return c.disk(a.Layer, op.From(), a.run(), a.Name), nil
}

// oneOf returns s, which is one of choices; "" leaves the choice open.
func oneOf(option, s string, choices []string) (string, error) {
	if s == "" {
		return "", nil
	}
	if !slices.Contains(choices, s) {
		return "", fmt.Errorf("%s: %q is not a choice%s", option, s, spell.Hint(s, "choices", choices))
	}
	return s, nil
}

// onlyDisks refuses options of disks where no format is made from one.
func (c *Call) onlyDisks(formats []string) error {
	for _, f := range c.Formats {
		if f.From == export.FromDisk && slices.Contains(formats, f.Name) {
			return nil
		}
	}
	for _, option := range []string{"size", "boot", "kernel_args"} {
		if c.Given(option) {
			return fmt.Errorf("%s: none of the formats %s is a disk", option, strings.Join(formats, ", "))
		}
	}
	return nil
}

// checkDescribed refuses what is said of the machine where no format has a descriptor, or
// where one cannot say it.
func (c *Call) checkDescribed(op *export.Op) error {
	described := map[string]bool{}
	for _, f := range c.Formats {
		if slices.Contains(op.Formats, f.Name) {
			described["hardware"] = described["hardware"] || f.Describes != ""
			described["ovf"] = described["ovf"] || f.Describes == "ovf"
			described["certificate"] = described["ovf"]
		}
	}
	for _, option := range []string{"hardware", "ovf", "certificate"} {
		if c.Given(option) && !described[option] {
			return fmt.Errorf("%s: none of the formats %s has such a descriptor", option, strings.Join(op.Formats, ", "))
		}
	}
	return op.CheckHardware()
}

// ownDisk refuses options of how a disk is made for a layer that has one.
func (c *Call) ownDisk(p *Platform) error {
	spec, err := c.spec(p.plan.Name)
	if err != nil || !spec.Boots {
		return err
	}
	for _, option := range []string{"boot", "kernel_args"} {
		if c.Given(option) {
			return fmt.Errorf("%s: a layer of %s leaves as the disk that it is: steps say how it boots", option, spec.Name)
		}
	}
	return nil
}

// checkDisk refuses a further disk where the machine has none, or no format is
// made from a disk alone.
func (c *Call) checkDisk(a *exportArgs, formats []string) error {
	if a.Disk <= 1 {
		if c.Given("disk") && a.Disk < 1 {
			return fmt.Errorf("disk: %d: the first one is 1", a.Disk)
		}
		a.Disk = 0
		return nil
	}
	a.Boot = disk.BootNone
	p := a.Layer.platform.plan
	var options struct{ Disks []string }
	if err := json.Unmarshal(p.Options, &options); len(p.Options) > 0 && err != nil {
		return err
	}
	spec, err := c.spec(p.Name)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(spec.Options, func(o platforms.Option) bool { return o.Name == "disks" }) {
		return fmt.Errorf("disk: %d: a layer of %s has one disk", a.Disk, p.Name)
	}
	if n := 1 + len(options.Disks); a.Disk > n {
		return fmt.Errorf("disk: %d: the machine has %d: %s(disks = [\"10G\"]) gives it another one", a.Disk, n, p.Name)
	}
	for _, f := range c.Formats {
		if f.From != export.FromDisk && slices.Contains(formats, f.Name) {
			return fmt.Errorf("disk: %d: the format %s is made of the files of the disk that the machine boots from", a.Disk, f.Name)
		}
	}
	return nil
}

// imagesOf are names of images that are registered on a platform, and have no files.
var imagesOf = map[string]string{
	"ami": "aws", "aws": "aws", "glance": "openstack", "openstack": "openstack", "template": "vsphere", "vsphere": "vsphere",
}

func checkFormats(formats, known []string) ([]string, error) {
	if len(formats) == 0 {
		return []string{"qcow2"}, nil
	}
	for i, f := range formats {
		if platform := imagesOf[f]; platform != "" {
			return nil, fmt.Errorf("%q is not a format of files: to = [%s()] registers an image", f, platform)
		}
		if !slices.Contains(known, f) {
			return nil, fmt.Errorf("unknown format %q%s", f, spell.Hint(f, "formats", known))
		}
		if slices.Contains(formats[:i], f) {
			return nil, fmt.Errorf("%q is given twice", f)
		}
	}
	return formats, nil
}

// checkArtifact fails when the artifact cannot be told from another by its
// name and its platform.
func (c *Call) checkArtifact(a *Artifact) error {
	if other, ok := c.named[a.name]; ok {
		if _, isTest := other.Op.(plan.Check); isTest {
			return c.checkName(a.name)
		}
	}
	for _, other := range c.artifacts {
		if other.name != a.name || other.platform().plan.Called() != a.platform().plan.Called() {
			continue
		}
		if p := a.platform().plan; p.ID() != other.platform().plan.ID() && a.on != nil && other.on != nil {
			return fmt.Errorf("the name %[1]q is taken by the artifact at %[2]s, on another %[3]s(): %[3]s(name = \"…\") tells the two apart, as %[1]s@…", a.name, other.node.Pos[0], p.Name)
		}
		return fmt.Errorf("the name %q is taken by the artifact at %s: each artifact has a name of its own", a.name, other.node.Pos[0])
	}
	return nil
}

// qualify gives artifacts of one name that are on several platforms the names
// name@platform.
func (c *Context) qualify() {
	count := map[string]int{}
	for _, a := range c.artifacts {
		count[a.name]++
	}
	for _, a := range c.artifacts {
		if count[a.name] > 1 {
			a.target = a.name + "@" + a.platform().plan.Called()
		}
	}
}
