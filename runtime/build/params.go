package build

import (
	"fmt"
	"strings"

	"bake.build/bake/builtins"
	"bake.build/bake/internal/regular"
	"bake.build/bake/starlark/eval"
)

// maxParams is how many bytes a file of parameters has at most.
const maxParams = 16 << 20

// params collects the values of parameters from the command line, the file of
// parameters and the environment. The file becomes a source of the project.
func (c *Config) params(project *eval.Project) (map[string]builtins.ParamInput, error) {
	var file []byte
	if c.ParamsFile != "" {
		var err error
		if file, err = regular.ReadGiven(c.abs(c.ParamsFile), maxParams); err != nil {
			return nil, err
		}
		project.AddSource(c.ParamsFile, file)
	}
	for _, p := range c.Params {
		if name, _, ok := strings.Cut(p, "="); !ok || name == "" {
			return nil, of(KindUsage, fmt.Errorf("-p %s: want name=value", p))
		}
	}
	params, err := builtins.ReadParams(c.Params, c.ParamsFile, file, c.Environ)
	if err != nil || c.chosen == nil {
		return params, err
	}
	for name, p := range params {
		p.Loose = true
		params[name] = p
	}
	for name, text := range c.chosen {
		params[name] = builtins.ParamInput{Text: text, Typed: true, From: "bake check", Loose: true}
	}
	return params, nil
}
