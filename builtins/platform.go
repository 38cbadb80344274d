package builtins

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
	"go.starlark.net/starlark"
)

// constructor returns the function that makes values of a platform.
func (c *Context) constructor(spec platforms.Spec) *starlark.Builtin {
	return starlark.NewBuiltin(spec.Name, func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		call := &Call{Context: c, Name: spec.Name, thread: thread}
		if len(args) > 0 {
			return nil, fmt.Errorf("%s: options are given by keyword, not by position", spec.Name)
		}
		label, kwargs, err := takeLabel(kwargs)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", spec.Name, err)
		}
		var secrets []string
		options, err := decodeOptions(spec.Options, kwargs, func(o platforms.Option, v starlark.Value) (string, error) {
			if o.Kind != platforms.SecretOf {
				return call.platformPath(o, v)
			}
			s, ok := v.(*Secret)
			if !ok {
				return "", wrongType(v, `secret, such as secret("password")`)
			}
			secrets = append(secrets, s.name)
			return s.name, c.useSecret(s, call.Pos())
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", spec.Name, c.withOwners(err, &spec))
		}
		if err := checkWith(spec.CheckOptions, options); err != nil {
			return nil, fmt.Errorf("%s: %w", spec.Name, err)
		}
		return &Platform{plan: &plan.Platform{Name: spec.Name, Label: label, Options: options, Secrets: secrets, Pos: call.Pos()}}, nil
	})
}

// labelOption is the option of every platform that tells values of one kind apart.
const labelOption = "name"

// takeLabel takes the label off the keywords of a platform's constructor.
func takeLabel(kwargs []starlark.Tuple) (label string, rest []starlark.Tuple, err error) {
	for _, kv := range kwargs {
		if kv[0] != starlark.String(labelOption) {
			rest = append(rest, kv)
			continue
		}
		s, ok := starlark.AsString(kv[1])
		switch {
		case !ok:
			return "", nil, fmt.Errorf("%s: %w", labelOption, wrongType(kv[1], "string"))
		case !artifactName.MatchString(s):
			return "", nil, fmt.Errorf("%s: %q: want letters, digits, \".\", \"-\" and \"_\"", labelOption, s)
		}
		label = s
	}
	return label, rest, nil
}

// checkWith has the platform check options in themselves, where it knows how.
func checkWith(check func(json.RawMessage) error, options json.RawMessage) error {
	if check == nil {
		return nil
	}
	return check(options)
}

// platformPath takes an option of a platform that may name a local file.
func (c *Call) platformPath(o platforms.Option, v starlark.Value) (string, error) {
	s, err := asText(v)
	if err == errType || o.Kind == platforms.LayerRef {
		return "", wrongType(v, string(o.Kind))
	} else if err != nil {
		return "", err
	}
	if !namesFile(o, s) {
		return s, nil
	}
	return c.anyPath(s)
}

// namesFile reports whether s, the value of a Path or Ref option, names a
// local file or directory.
func namesFile(o platforms.Option, s string) bool {
	if o.Kind == platforms.Ref {
		return filepath.IsAbs(s) || strings.HasPrefix(s, "/") || strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../")
	}
	return !strings.Contains(s, "://")
}

// anyPath returns the absolute path of an existing file or directory: of the
// project, or anywhere when s is absolute.
func (c *Call) anyPath(s string) (string, error) {
	if !filepath.IsAbs(s) || strings.HasPrefix(s, "//") {
		return c.Place().Path(s)
	}
	real, err := filepath.EvalSymlinks(s)
	if err != nil {
		return "", fmt.Errorf("no file or directory %q: %w", s, errors.Unwrap(err))
	}
	return real, nil
}
