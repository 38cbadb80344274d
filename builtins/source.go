package builtins

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"bake.build/bake/internal/spell"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/op"
	"bake.build/bake/runtime/plan"
	"go.starlark.net/starlark"
)

func sourceBuiltin() Builtin {
	return Declare("source", `Begins a chain of layers on a platform, from exactly one origin.

The options are those of the platform: see the list of each platform below. An option that takes a path accepts a path relative to the file that calls, a path from the project's root ("//disks/base.qcow2"), an absolute path, a URL, or an artifact. The contents of local files are part of the layer's key, their places are not.

The layer, and each that steps make from it, has the attribute origin, for labels, tags and reports: origin.kind ("debian"), origin.name ("debian bookworm"), origin.pin, what bake.lock says of it ("sha256:…", or the id of an image), origin.date and origin.detail, a dict. An origin that needs no pin, such as a file of the project, has "" there. Where the pin changes, the definition is evaluated again.`,
		"layer", source)
}

type sourceArgs struct {
	Platform *Platform `bake:"platform,required" help:"The platform, such as rootfs()."`
	SourceOptions
	Options []starlark.Tuple `bake:"**"`
}

// SourceOptions are the options of source that no platform declares.
type SourceOptions struct {
	Name    string   `bake:"name,keyword" help:"Display name of the step." default:"made from the origin"`
	Timeout Duration `bake:"timeout,keyword" help:"Time limit of the import." default:"no limit"`
	Retries Count    `bake:"retries,keyword" help:"Number of retries after a failure." default:"0"`
}

func source(c *Call, a *sourceArgs) (starlark.Value, error) {
	spec, err := c.spec(a.Platform.plan.Name)
	if err != nil {
		return nil, err
	}
	origin, err := originOf(spec, a.Options)
	if err != nil {
		return nil, c.withOwners(err, &spec)
	}
	s := &op.Source{Of: origin}
	n := &plan.Node{Op: s, Platform: a.Platform.plan}
	s.Options, err = decodeOptions(spec.Origin, a.Options, func(o platforms.Option, v starlark.Value) (string, error) {
		return c.sourceOption(n, s, o, v)
	})
	if err == nil {
		err = checkWith(spec.CheckOrigin, s.Options)
	}
	if err != nil {
		return nil, c.withOwners(err, &spec)
	}
	o := StepOptions{Name: a.Name, Timeout: a.Timeout, Retries: a.Retries}
	n.Name = o.title(sourceName(s, a.Options))
	n.Run = o.run()
	layer := &Layer{node: c.Add(n), platform: a.Platform}
	layer.origin = c.originOfChain(n, strings.TrimPrefix(sourceName(s, a.Options), "source: "), given(a.Options, origin))
	return layer, nil
}

// given returns the value of the keyword called name, or nil.
func given(kwargs []starlark.Tuple, name string) starlark.Value {
	for _, kv := range kwargs {
		if string(kv[0].(starlark.String)) == name {
			return kv[1]
		}
	}
	return nil
}

func (c *Call) spec(name string) (platforms.Spec, error) {
	for _, s := range c.Platforms {
		if s.Name == name {
			return s, nil
		}
	}
	return platforms.Spec{}, fmt.Errorf("unknown platform %q", name)
}

// originOf returns the one origin that kwargs name.
func originOf(spec platforms.Spec, kwargs []starlark.Tuple) (string, error) {
	var all, given []string
	for _, o := range spec.Origin {
		if !o.IsOrigin {
			continue
		}
		all = append(all, o.Name)
		for _, kv := range kwargs {
			if string(kv[0].(starlark.String)) == o.Name && kv[1] != starlark.None && kv[1] != starlark.False {
				given = append(given, o.Name)
			}
		}
	}
	if len(all) == 0 {
		return "", fmt.Errorf("no layer begins on %[1]s: begin on another platform, and have the image registered with export(…, to = [%[1]s()])", spec.Name)
	}
	switch len(given) {
	case 1:
		return given[0], nil
	case 0:
		if _, err := bind(spec.Origin, nil, kwargs); err != nil {
			return "", err
		}
		return "", fmt.Errorf("no origin: give one of %s", spell.List(all))
	}
	return "", fmt.Errorf("%s are %d origins, want exactly one", strings.Join(given, " and "), len(given))
}

// sourceOption takes an option that names a file, a layer or an artifact.
func (c *Call) sourceOption(n *plan.Node, s *op.Source, o platforms.Option, v starlark.Value) (string, error) {
	switch v := v.(type) {
	case *Layer:
		if o.Kind != platforms.LayerRef {
			return "", wrongType(v, string(o.Kind))
		}
		link(n, s, o.Name, v.node)
		return "", nil
	case *Artifact:
		if o.Kind == platforms.LayerRef {
			return "", wrongType(v, string(o.Kind))
		}
		if v.on != nil {
			return "", fmt.Errorf("the artifact %q is an image of %s, and has no files", v.name, v.on.plan.Name)
		}
		link(n, s, o.Name, v.node)
		return "", nil
	}
	text, err := asText(v)
	if err == errType || o.Kind == platforms.LayerRef {
		return "", wrongType(v, string(o.Kind))
	} else if err != nil {
		return "", err
	} else if !namesFile(o, text) && !c.isLayout(o, text) {
		return text, c.notMeantAsFile(o, text)
	}
	abs, err := c.anyPath(text)
	tag := ""
	if path, after, tagged := cutTag(text); err != nil && o.Kind == platforms.Ref && tagged {
		if other, otherErr := c.anyPath(path); otherErr == nil {
			abs, tag, err = other, after, nil
		}
	}
	if err != nil {
		return "", err
	}
	s.Files = append(s.Files, op.SourceFile{Option: o.Name, Input: c.input(abs, nil)})
	return tag, nil
}

// cutTag cuts the tag off a path, as in "./layout:v1"; the tag keeps its colon.
func cutTag(s string) (path, tag string, ok bool) {
	i := strings.LastIndex(s, ":")
	if i <= 0 || strings.Contains(s[i:], "/") {
		return s, "", false
	}
	return s[:i], s[i:], true
}

// isLayout reports whether a reference without a "/" names a folder with
// container images beside the file that calls, with a tag or without.
func (c *Call) isLayout(o platforms.Option, ref string) bool {
	if o.Kind != platforms.Ref || strings.Contains(ref, "/") {
		return false
	}
	for _, name := range []string{"oci-layout", "index.json", "manifest.json"} {
		path, _, _ := cutTag(ref)
		for _, folder := range []string{ref, path} {
			if _, err := c.Place().Path(folder + "/" + name); err == nil {
				return true
			}
		}
	}
	return false
}

// notMeantAsFile returns an error where ref, a reference, is also the path of a
// file or directory, which references begin with "./" to name.
func (c *Call) notMeantAsFile(o platforms.Option, ref string) error {
	if o.Kind != platforms.Ref || !strings.Contains(ref, "/") {
		return nil
	}
	if _, err := c.Place().Path(ref); err != nil {
		return nil // no file of the project
	}
	return fmt.Errorf("%s: %q is the name of an image in a registry; the file of this name is %q", o.Name, ref, "./"+ref)
}

func link(n *plan.Node, s *op.Source, option string, dep *plan.Node) {
	s.Made = append(s.Made, op.SourceNode{Option: option, Dep: len(n.Deps)})
	n.Deps = append(n.Deps, dep)
}

// input makes an input of the plan at the position of the call.
func (c *Call) input(abs string, exclude []string) *plan.Input {
	c.Project.Record(abs)
	return &plan.Input{Path: abs, Exclude: exclude, Pos: c.Pos()}
}

// sourceName says what the source starts from, such as "debian bookworm".
func sourceName(s *op.Source, kwargs []starlark.Tuple) string {
	var values map[string]json.RawMessage
	var text string
	if json.Unmarshal(s.Options, &values) == nil && json.Unmarshal(values[s.Of], &text) == nil && !strings.HasPrefix(text, ":") {
		return "source: " + s.Of + " " + redacted(text)
	}
	switch v := given(kwargs, s.Of).(type) {
	case starlark.String:
		return "source: " + s.Of + " " + redacted(string(v))
	case *Artifact:
		return "source: " + s.Of + " " + v.name
	case *Layer:
		return "source: " + s.Of + " " + v.node.Name
	}
	return "source: " + s.Of
}

// redacted returns an address for displays, without the password in it.
func redacted(s string) string {
	if u, err := url.Parse(s); err == nil && u.User != nil {
		return u.Redacted()
	}
	return s
}
