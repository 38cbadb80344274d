package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// graceful is how long a cancelled child may take to clean up.
const graceful = 20 * time.Second

// A child is a process to start and to measure.
type child struct {
	args []string
	dir  string
	env  []string // added to the harness's own
	log  string   // file that takes standard output and standard error; "" discards them

	// stdout, if not nil, takes standard output in place of log.
	stdout io.Writer

	// watch asks for usage.own, at the cost of sampling.
	watch bool
}

// A usage says what a child cost.
type usage struct {
	wall time.Duration
	cpu  time.Duration // of itself and of all that it waited for
	peak int64         // bytes, see peakResident; 0 where the host does not tell
	own  int64         // bytes, see watchOwn; 0 unless asked for
}

// run starts the child, waits for its end and measures it. When ctx ends the
// child is asked to stop, and then it and all of its process group are killed.
// The error of a child that did not succeed holds the last lines of its log.
func (c *child) run(ctx context.Context) (usage, error) {
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), c.env...)
	ownGroup(cmd)
	cmd.WaitDelay = graceful
	if c.log != "" {
		f, err := os.Create(c.log)
		if err != nil {
			return usage{}, err
		}
		defer f.Close()
		cmd.Stdout, cmd.Stderr = f, f
	}
	if c.stdout != nil {
		cmd.Stdout = c.stdout
	}
	begin := time.Now()
	own, err := c.start(cmd)
	u := usage{wall: time.Since(begin), own: own}
	if cmd.ProcessState != nil {
		u.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		u.peak = peakResident(cmd.ProcessState)
	}
	if err != nil {
		killGroup(cmd)
		return u, c.failure(ctx, err)
	}
	return u, nil
}

// start runs cmd to its end and, if asked to, watches it.
func (c *child) start(cmd *exec.Cmd) (own int64, err error) {
	if !c.watch {
		return 0, cmd.Run()
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	stop, peak := make(chan struct{}), make(chan int64)
	go func() { peak <- watchOwn(cmd.Process.Pid, stop) }()
	err = cmd.Wait()
	close(stop)
	return <-peak, err
}

// failure describes a run that did not succeed.
func (c *child) failure(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	err = fmt.Errorf("%s: %w", strings.Join(append([]string{filepath.Base(c.args[0])}, c.args[1:]...), " "), err)
	if tail := lastLines(c.log, 20); tail != "" {
		err = fmt.Errorf("%w\n%s", err, tail)
	}
	return err
}

// lastLines returns the last n lines of a file, indented, or "" when there is
// nothing to show.
func lastLines(path string, n int) string {
	const most = 16 << 10
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if end, err := f.Seek(0, io.SeekEnd); err == nil {
		if _, err := f.Seek(max(0, end-most), io.SeekStart); err != nil {
			return ""
		}
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return ""
	}
	lines := strings.Split(string(bytes.TrimSpace(data)), "\n")
	lines = lines[max(0, len(lines)-n):]
	if len(lines) == 1 && lines[0] == "" {
		return ""
	}
	return "    " + strings.Join(lines, "\n    ")
}

// repeat runs a child n times and returns the usage of each run. Before each
// run it calls before, if that is not nil, with the run's number.
func repeat(ctx context.Context, n int, c *child, before func(run int) error) ([]usage, error) {
	var all []usage
	for run := range n {
		if before != nil {
			if err := before(run); err != nil {
				return nil, err
			}
		}
		u, err := c.run(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	return all, nil
}

// lookTools returns an error that names the tools which the host lacks.
func lookTools(names ...string) error {
	var missing []string
	for _, name := range names {
		if _, err := exec.LookPath(name); errors.Is(err, exec.ErrNotFound) {
			missing = append(missing, name)
		} else if err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("not found: %s; .ci/setup bench installs what is missing", strings.Join(missing, ", "))
	}
	return nil
}
