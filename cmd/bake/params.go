package main

import (
	"fmt"
	"strings"

	"bake.build/bake/builtins"
	"bake.build/bake/internal/regular"
)

// maxParams is how many bytes a file of parameters has at most.
const maxParams = 16 << 20

// params collects the values of parameters from the command line, the file of
// parameters and the environment.
func (a *app) params(f *definitionFlags) (map[string]builtins.Given, error) {
	var file []byte
	if f.paramsFile != "" {
		var err error
		if file, err = regular.ReadGiven(a.abs(f.paramsFile), maxParams); err != nil {
			return nil, err
		}
	}
	for _, p := range f.params {
		if name, _, ok := strings.Cut(p, "="); !ok || name == "" {
			return nil, coded(exitUsage, fmt.Errorf("-p %s: want name=value", p))
		}
	}
	return builtins.ReadParams(f.params, f.paramsFile, file, a.environ())
}
