package builtins

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/disk"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/plan"
	"go.starlark.net/starlark"
)

// publishLayer is export with to: it adds a node for each platform.
func publishLayer(c *Call, a *exportArgs) (starlark.Value, error) {
	for _, option := range []string{"formats", "compression", "disk"} {
		if c.Given(option) {
			return nil, fmt.Errorf("%s: an image that is registered has no files: call export once more, without to, for these", option)
		}
	}
	boot, err := oneOf("boot", a.Boot, disk.Boots())
	if err != nil {
		return nil, err
	}
	if boot == disk.BootNone {
		return nil, errors.New(`boot: "none": no machine starts from an image that does not boot`)
	}
	if err := c.ownDisk(a.Layer.platform); err != nil {
		return nil, err
	}
	var artifacts []starlark.Value
	for _, p := range a.To {
		artifact, err := publishOn(c, a, p, boot)
		if err != nil {
			return nil, err
		}
		artifacts = append(artifacts, artifact)
	}
	if len(artifacts) == 1 {
		return artifacts[0], nil
	}
	return starlark.NewList(artifacts), nil
}

// hardwareOption is the option of what an image's machine is made of.
const hardwareOption = "hardware"

func publishOn(c *Call, a *exportArgs, p *Platform, boot string) (*Artifact, error) {
	spec, err := c.spec(p.plan.Name)
	if err != nil {
		return nil, err
	}
	if !spec.Publishes {
		return nil, fmt.Errorf("to: %s does not register images: leave it out, and use the files of the artifact", spec.Name)
	}
	if err := c.ownImage(a.Layer.platform, p); err != nil {
		return nil, err
	}
	given := slices.Clone(a.Options)
	if c.Given(hardwareOption) { // which exports to files have as well
		if !hasOption(spec.Publication, hardwareOption) {
			return nil, fmt.Errorf("%s: images of %s have none of their own", hardwareOption, spec.Name)
		}
		given = append(given, starlark.Tuple{starlark.String(hardwareOption), a.Hardware})
	}
	options, err := decodeOptions(spec.Publication, given, func(o platforms.Option, v starlark.Value) (string, error) {
		return "", wrongType(v, string(o.Kind))
	})
	if err == nil {
		err = checkWith(spec.CheckPublication, options)
	}
	if err != nil {
		return nil, c.withOwners(err, &spec)
	}
	artifact := &Artifact{layer: a.Layer, on: p, name: a.Name, target: a.Name}
	if err := c.checkArtifact(artifact); err != nil {
		return nil, err
	}
	op := &export.Publish{
		Name:       a.Name,
		Target:     p.plan.ID(),
		Options:    options,
		Size:       int64(a.Size),
		Boot:       boot,
		KernelArgs: strings.Join(a.KernelArgs, " "),
		Writer:     export.DiskWriter,
	}
	var uses []*plan.Node
	if p.plan.ID() != a.Layer.platform.plan.ID() { // or the platform has it
		uses = c.disk(a.Layer, op.Disk(), a.run(), a.Name)
	}
	artifact.node = c.Add(&plan.Node{
		Op:       op,
		Platform: p.plan,
		Deps:     []*plan.Node{a.Layer.node},
		Uses:     uses,
		Name:     a.title("publish: " + a.Name),
		Run:      a.run(),
	})
	c.artifacts = append(c.artifacts, artifact)
	c.named[a.Name] = artifact.node
	return artifact, nil
}

// ownImage refuses what cannot be of an image made of a layer that a platform
// registers itself: p is where it is to be registered.
func (c *Call) ownImage(layer, p *Platform) error {
	from, err := c.spec(layer.plan.Name)
	switch {
	case err != nil || !from.Publishes:
		return err
	case p.plan.ID() != layer.plan.ID():
		return fmt.Errorf("to: a layer of %[1]s is registered by the %[1]s() that it was made with: its options say where else the image goes", from.Name)
	case c.Given("size"):
		return errors.New("size: the image is made of the machine's own disk: the platform's options say how large that is")
	}
	return nil
}

// notOfFiles refuses a keyword of an export to files, of a layer of the platform p.
func (c *Call) notOfFiles(name string, p *Platform) error {
	for _, spec := range c.Platforms {
		if hasOption(spec.Publication, name) {
			return fmt.Errorf("%s: belongs to an image that is registered: say where with to = [%s()]", name, spec.Name)
		}
	}
	spec, err := c.spec(p.plan.Name)
	if err != nil {
		return err
	}
	return c.withOwners(unknownKeyword(name, platforms.Fields(reflect.TypeFor[exportArgs]())), &spec)
}
