package builtins

import (
	"fmt"
	"path"

	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/plan"
	"go.starlark.net/starlark"
)

func outputBuiltin() Builtin {
	return Declare("output", `Takes a file, or a directory, out of a layer as an artifact.

Version reports, lists of packages, SBOMs, generated keys: what a step left in the machine appears in the output directory, with its SHA-256. It is read in a machine on the layer. Links to files that are taken along become copies of them.`,
		"artifact", output)
}

type outputArgs struct {
	Layer *Layer `bake:"layer,required" help:"The layer to read."`
	Path  string `bake:"path,required" help:"Absolute path in the machine of the file or directory."`
	Name  string `bake:"name" help:"The artifact's name: letters, digits, \".\", \"-\" and \"_\"." default:"the last part of the path"`
	StepOptions
}

func output(c *Call, a *outputArgs) (starlark.Value, error) {
	src, _, err := machinePath(a.Path)
	if err != nil {
		return nil, fmt.Errorf("path: %w", err)
	}
	if src == "/" {
		return nil, fmt.Errorf(`path: "/": the whole tree is export(layer, …, formats = ["tar"])`)
	}
	if base := path.Base(src); base == export.ManifestName || base == export.SumsName {
		return nil, fmt.Errorf("path: %q: the artifact has a file of that name of its own: copy it to another one in a step", a.Path)
	}
	name := a.Name
	if name == "" {
		name = path.Base(src)
	}
	if !artifactName.MatchString(name) {
		return nil, fmt.Errorf("name: %q: want letters, digits, \".\", \"-\" and \"_\"", name)
	}
	artifact := &Artifact{layer: a.Layer, name: name, target: name, formats: []string{export.OutputFormat}}
	if err := c.checkArtifact(artifact); err != nil {
		return nil, err
	}
	artifact.node = c.Add(&plan.Node{
		Op:       &export.Output{Name: name, Path: src, Writer: export.OutputWriter},
		Platform: a.Layer.node.Platform,
		Deps:     []*plan.Node{a.Layer.node},
		Name:     a.title("output: " + name),
		Run:      a.run(),
	})
	c.artifacts = append(c.artifacts, artifact)
	c.named[name] = artifact.node
	return artifact, nil
}
