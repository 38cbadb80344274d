package main

import "bake.build/bake/starlark/eval"

// projectVariable is the variable of the environment that names the project.
const projectVariable = "BAKE_PROJECT"

// projectName returns the identity of a project: what the environment says, or what
// its files do.
func (a *app) projectName(p *eval.Project) (string, error) {
	if name := a.getenv(projectVariable); name != "" {
		return name, eval.CheckName(name)
	}
	return p.Name()
}
