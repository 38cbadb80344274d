package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"bake.build/bake/builtins"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image"
	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/export"
)

// defaultDefinition is the file that verbs read when none is named.
const defaultDefinition = "images.star"

// An app is the program with everything that it is wired from. Tests make one
// with tables and streams of their own.
type app struct {
	specs    []platforms.Spec
	builtins []builtins.Builtin
	formats  export.Table

	// enter gives a process without root's rights those that machines need,
	// which may start the program anew; see rootfs.Enter.
	enter func() error

	// What is written to stdout and stderr may come from outside: in the program
	// they are printable.Writers. What draws on the terminal, or hands it over,
	// takes the writer below, by printable.Raw.
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
	dir     string                   // working directory, absolute
	getenv  func(name string) string // the environment
	environ func() []string
}

// abs returns path as seen from the working directory.
func (a *app) abs(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(a.dir, path)
}

// rel returns path as users want to read it: relative to the working directory
// where that is shorter.
func (a *app) rel(path string) string {
	if r, err := filepath.Rel(a.dir, path); err == nil && len(r) < len(path) && !strings.HasPrefix(r, "../../..") {
		return r
	}
	return path
}

// isFile reports whether path names an existing file or directory.
func (a *app) isFile(path string) bool {
	_, err := os.Stat(a.abs(path))
	return err == nil
}

// locate implements export.Locator.
func locate(path, format string) (string, error) {
	node, err := image.Open(path, format)
	if err != nil {
		return "", err
	}
	return node.Locator()
}

// config returns what builds are wired from and given. f may be nil.
func (a *app) config(f *definitionFlags) build.Config {
	c := build.Config{
		Platforms: a.specs,
		Builtins:  a.builtins,
		Formats:   a.formats,
		Locate:    locate,
		Version:   version,
		Dir:       a.dir,
		Environ:   a.environ(),
		Rights:    a.enter,
		Ask:       a.ask(nil),
		Notify:    a.notify,
		Printed:   a.stderr,
	}
	if f != nil {
		c.Out, c.Params, c.ParamsFile, c.Secrets, c.Locked, c.Offline = f.out, f.params, f.paramsFile, f.secrets, f.locked, f.offline
	}
	return c
}

// notify prints what is told while nothing runs.
func (a *app) notify(e event.Event) {
	if e.Type == event.Warning {
		fmt.Fprint(a.stderr, "warning: ")
	}
	fmt.Fprintln(a.stderr, e.Text)
}

// A session is one verb's work on one definition, and the display of it.
type session struct {
	*app
	*build.Build
	display *display
}

// withSession runs use with a definition opened, for a verb that starts no machine.
func (a *app) withSession(ctx context.Context, file string, f *definitionFlags, use func(*session) error) error {
	c, d := a.config(f), &display{app: a}
	c.Ask = a.ask(d.suspend)
	return build.Use(ctx, c, file, func(b *build.Build) error {
		return use(&session{app: a, Build: b, display: d})
	})
}

// withMachines is withSession for a verb that starts machines.
func (a *app) withMachines(ctx context.Context, file string, f *buildFlags, use func(*session) error) error {
	if err := f.check(); err != nil {
		return err
	}
	return a.withSession(ctx, file, &f.definitionFlags, use)
}

// withHost runs use with the user's store open, for a verb that is about no
// definition.
func (a *app) withHost(use func(*build.Host) error) (err error) {
	if a.enter != nil {
		if err := a.enter(); err != nil {
			return coded(exitHost, err)
		}
	}
	h, err := build.OpenHost(a.config(nil))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	return use(h)
}
