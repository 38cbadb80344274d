package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"bake.build/bake/builtins"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/plan"
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

// A driverTable opens each platform value of a plan once.
type driverTable struct {
	specs []platforms.Spec
	host  platforms.Host

	mu   sync.Mutex
	open map[string]platforms.Driver
}

// get returns the driver of p.
func (t *driverTable) get(p *plan.Platform) (platforms.Driver, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if d, ok := t.open[p.ID()]; ok {
		return d, nil
	}
	for _, spec := range t.specs {
		if spec.Name != p.Name {
			continue
		}
		d, err := spec.New(p.Options, t.host)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
		if t.open == nil {
			t.open = make(map[string]platforms.Driver)
		}
		t.open[p.ID()] = d
		return d, nil
	}
	return nil, fmt.Errorf("no platform is called %q", p.Name)
}

// tellAfter is how long cleaning up may take before the user is told.
const tellAfter = 2 * time.Second

// fingerprint returns the fingerprint of p's driver.
func (t *driverTable) fingerprint(p *plan.Platform) (string, error) {
	d, err := t.get(p)
	if err != nil {
		return "", err
	}
	return d.Fingerprint(), nil
}

// Close ends what the drivers hold, such as idle machines. It says that it waits
// where that takes long.
func (t *driverTable) Close(said io.Writer) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	told := make(chan struct{})
	timer := time.AfterFunc(tellAfter, func() {
		fmt.Fprintln(said, "cleaning up: waiting for machines to end")
		close(told)
	})
	var g sync.WaitGroup
	errs := make([]error, len(t.open))
	i := 0
	for _, d := range t.open {
		if c, ok := d.(platforms.Closer); ok {
			err := &errs[i]
			i++
			g.Go(func() { *err = c.Close() })
		}
	}
	g.Wait()
	if !timer.Stop() {
		<-told
	}
	t.open = nil
	return errors.Join(errs...)
}
