package build

import (
	"cmp"
	"context"
	"io"
	"path/filepath"
	"strings"

	"bake.build/bake/builtins"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/solve"
)

// A Config says what builds are wired from, where they work and what they are
// given. Platforms, Builtins, Formats and Dir are required.
type Config struct {
	Platforms []platforms.Spec
	Builtins  []builtins.Builtin
	Formats   export.Table
	Version   string // of the program, for the manifests of artifacts

	// Locate tells qemu-img of images that artifacts have. Where it is nil, a disk is made
	// anew for what is added to an artifact.
	Locate export.Locator

	Dir      string   // absolute; relative paths are seen from it
	Out      string   // the directory of artifacts; "" means "out"
	StoreDir string   // the layer store's directory; "" means the user's
	Environ  []string // "NAME=value"; parameters, secrets and the project's name may come from it

	Params     []string // "name=value"; of a field of a dict "name.field=value"
	ParamsFile string   // JSON, YAML or TOML, or lines of "name=value"; "" means none
	Secrets    []string // "name=env:VARIABLE" or "name=file:PATH"
	Locked     bool     // refuse to change bake.lock
	Offline    bool     // ask no server for modules, pins and origins: take what is there

	// chosen are the values that parameters have in one of the evaluations of Check.
	// With them, a definition need not have the parameters that are given.
	chosen map[string]string

	// Rights gets the rights that machines need, before the store is opened. It may
	// be nil. Where it fails, a definition can still be looked at.
	Rights func() error

	// Ask asks the user; see platforms.Host. Nil means that nobody can answer.
	Ask func(ctx context.Context, question string) (answer string, err error)

	// Notify takes notes and warnings while no run's events take them. It may be nil.
	Notify func(e event.Event)

	// Printed takes what the definition prints. It may be nil.
	Printed io.Writer
}

// Options say how targets are run.
type Options struct {
	// Events takes what happens. It may be nil.
	Events event.Reader

	// Jobs is how many machines run at once; 0 means one for each CPU, and two at
	// least.
	Jobs int

	// MaxMemory is how many bytes of memory machines take together; 0 means four
	// fifths of what this process may use.
	MaxMemory int64

	// KeepGoing runs what does not depend on a failed node.
	KeepGoing bool

	// AllowLocal lets steps run programs of this host, which no sandbox holds.
	AllowLocal bool

	// OnError says what becomes of a machine in which a step failed; "" means
	// solve.Cleanup. Shell is called for solve.Shell; see solve.Config.
	OnError solve.OnError
	Shell   func(ctx context.Context, n *plan.Node, m platforms.Machine, failure error) error
}

// abs returns path as seen from the working directory.
func (c *Config) abs(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(c.Dir, path)
}

// out returns the directory of artifacts, absolute.
func (c *Config) out() string { return c.abs(cmp.Or(c.Out, "out")) }

// getenv returns the value of a variable of the environment, or "".
func (c *Config) getenv(name string) string {
	for _, v := range c.Environ {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// Spec returns what declares a platform. Its name is "" when there is none of this
// name.
func (c *Config) Spec(name string) platforms.Spec {
	for _, s := range c.Platforms {
		if s.Name == name {
			return s
		}
	}
	return platforms.Spec{}
}
