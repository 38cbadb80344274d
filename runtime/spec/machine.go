package spec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"bake.build/bake/builtins"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/solve"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
)

type runArgs struct {
	Layer   *builtins.Layer   `bake:"layer,required" help:"The layer, which is built first."`
	Command builtins.Lines    `bake:"command,required" help:"The shell commands: a string, or a list of lines. /bin/sh runs them."`
	Env     map[string]string `bake:"env,keyword" help:"Environment variables."`
	User    string            `bake:"user,keyword" help:"Who runs it." default:"root"`
	Workdir string            `bake:"workdir,keyword" help:"Working directory." default:"/"`
	Network bool              `bake:"network,keyword" help:"Whether the commands have network access." default:"False"`
}

func (t *T) runMethod() builtins.Builtin {
	return builtins.Declare("t.run", `With --build: builds a layer and runs commands in a throw-away machine on it. Without --build the test is skipped here.

The result has code, the exit status, and stdout and stderr as strings. A status that is not zero is no failure: t.equal(t.run(layer, "id web").code, 0). t.building says whether --build was given.`, "result",
		func(c *builtins.Call, a *runArgs) (starlark.Value, error) {
			if !t.runner.options.Build {
				t.skipped = "it builds layers: bake test --build runs it"
				return nil, errStop
			}
			if err := t.context.Failures(); err != nil {
				return nil, errStop
			}
			var result starlark.Value
			unlock := t.lockBuild()
			defer unlock()
			o := t.runner.options.Run
			o.Events = t.runner.options.Events
			err := t.runner.trials.Layer(t.ctx, t.project, t.context, a.Layer.Node(), o, func(l *build.Layer) (err error) {
				unlock() // a look inside is no build
				result, err = t.look(l, a)
				return err
			})
			if t.ctx.Err() != nil {
				err = context.Cause(t.ctx)
			}
			var failed *solve.NodeError
			if errors.As(err, &failed) {
				err = &buildError{failed}
			}
			return result, err
		})
}

// A buildError shows the log of a step that failed.
type buildError struct{ *solve.NodeError }

// Unwrap returns the failed step.
func (e *buildError) Unwrap() error { return e.NodeError }

// Log implements diag.Logger.
func (e *buildError) Log() (tail []string, path string) { return e.Tail, e.LogPath }

// lockBuild takes the right to build, and returns what gives it back, once.
func (t *T) lockBuild() func() {
	t.runner.building.Lock()
	held := true
	return func() {
		if held {
			held = false
			t.runner.building.Unlock()
		}
	}
}

// look runs a command in a machine on the layer.
func (t *T) look(l *build.Layer, a *runArgs) (_ starlark.Value, err error) {
	m, err := l.Boot(t.ctx, silent{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	stdout, stderr := &output{}, &output{}
	cmd := platforms.Cmd{
		Args: []string{"/bin/sh", "-c", string(a.Command)}, User: a.User, Dir: a.Workdir,
		Stdout: stdout, Stderr: stderr, NoNetwork: !a.Network,
	}
	for _, name := range slices.Sorted(maps.Keys(a.Env)) {
		cmd.Env = append(cmd.Env, name+"="+a.Env[name])
	}
	code := 0
	var exit *platforms.ExitError
	if err := m.Run(t.ctx, cmd); errors.As(err, &exit) && exit.Signal == "" {
		code = exit.Code
	} else if err != nil {
		return nil, err
	}
	if err := errors.Join(stdout.err, stderr.err); err != nil {
		return nil, err
	}
	return starlarkstruct.FromStringDict(starlark.String("result"), starlark.StringDict{
		"code":   starlark.MakeInt(code),
		"stdout": starlark.String(stdout.text()),
		"stderr": starlark.String(stderr.text()),
	}), nil
}

// maxOutput is how many bytes of each stream a command of a test may write.
const maxOutput = 8 << 20

// An output keeps what a command writes.
type output struct {
	b   bytes.Buffer
	err error // that it was too much
}

func (o *output) Write(p []byte) (int, error) {
	if o.b.Len()+len(p) > maxOutput {
		o.err = fmt.Errorf("the command writes more than %d MiB", maxOutput>>20)
		return len(p), nil
	}
	return o.b.Write(p)
}

func (o *output) text() string { return strings.ToValidUTF8(o.b.String(), "\uFFFD") }

// silent drops the log of a machine's start.
type silent struct{}

func (silent) Write(p []byte) (int, error)   { return len(p), nil }
func (silent) Progress(string, int64, int64) {}
