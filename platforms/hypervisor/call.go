package hypervisor

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bake.build/bake/internal/tool"
	"bake.build/bake/platforms/wait"
)

// A Caller calls a program of a hypervisor, one command at a time, and reads what it
// says. It is safe for concurrent use.
type Caller struct {
	Program string   // looked up in PATH unless it is a path
	Env     []string // "NAME=value", beside bake's own environment and a locale of UTF-8
	Dir     string   // working directory; "" is bake's own
	Flags   []string // before each command

	// Limit is how long one command may take; zero means DefaultLimit. Some programs
	// wait without end, and without a word, for a service that hangs.
	Limit time.Duration

	// Code finds the stable token of an error in what the program says, such as
	// "VBOX_E_OBJECT_NOT_FOUND". It may be nil.
	Code func(output string) string

	// Busy reports whether an error means that something is locked for a while, and
	// the command has done nothing. It is then tried again, for up to Patience; zero
	// means DefaultPatience. It may be nil.
	Busy     func(e *CallError) bool
	Patience time.Duration

	// Said reports what is wrong in the output of a command that ended with exit code
	// zero, for programs that do not always tell by that. It may be nil.
	Said func(args []string, stdout, stderr string) error
}

// Defaults of a Caller.
const (
	DefaultLimit    = 2 * time.Minute
	DefaultPatience = 30 * time.Second
)

// answerMost is how much of an output is kept, in bytes.
const answerMost = 4 << 20

// A CallError says how a command of a program failed.
type CallError struct {
	Program string   // its file's name
	Args    []string // as it was called
	Exit    int      // exit code; -1 when it was ended
	Code    string   // the program's stable token; "" where it names none
	Reason  string   // what it says of the cause, in a line
	Output  string   // all that it said, first on stdout, then on stderr

	timeout bool
}

// Error implements error. Arguments after the first are left out, as they are long and
// may hold what an option says.
func (e *CallError) Error() string {
	s := e.Program
	if len(e.Args) > 0 {
		s += " " + e.Args[0]
	}
	s += ": " + e.Reason
	if e.Code != "" && !strings.Contains(e.Reason, e.Code) {
		s += " (" + e.Code + ")"
	}
	return s
}

// Timeout reports whether the program was ended since it did not answer.
func (e *CallError) Timeout() bool { return e.timeout }

// Within returns a Caller like c whose commands may take as long as limit.
func (c Caller) Within(limit time.Duration) Caller {
	c.Limit = limit
	return c
}

// Call runs the program and returns what it wrote to its standard output. It fails with
// a *CallError where the program does, or with the cause of ctx's end. When Call returns
// the program has ended, with all of its process group.
func (c Caller) Call(ctx context.Context, args ...string) (stdout string, err error) {
	pause := wait.Backoff{Next: 100 * time.Millisecond, Most: 2 * time.Second, Jitter: true}
	for begun := time.Now(); ; {
		stdout, err = c.once(ctx, args)
		e := (*CallError)(nil)
		busy := errors.As(err, &e) && c.Busy != nil && !e.timeout && c.Busy(e)
		if !busy || time.Since(begun) >= cmp.Or(c.Patience, DefaultPatience) {
			return stdout, err
		}
		if err := pause.Wait(ctx); err != nil {
			return "", err
		}
	}
}

// once runs the program once.
func (c Caller) once(ctx context.Context, args []string) (string, error) {
	limit := cmp.Or(c.Limit, DefaultLimit)
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(limited, c.Program, slices.Concat(c.Flags, args)...)
	cmd.Dir = c.Dir
	// Texts are looked at: they are to be English and, as file names are, in UTF-8.
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "LANG=C.UTF-8", "LANGUAGE=C")
	cmd.Env = append(cmd.Env, c.Env...)
	cmd.Cancel = func() error { return endGroup(cmd.Process) }
	cmd.WaitDelay = 2 * time.Second // a service that it has started may hold its outputs
	var stdout, stderr bounded
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := tool.Run(cmd)
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // the program itself has ended, and well
	}
	e := &CallError{Program: filepath.Base(c.Program), Args: args, Exit: -1, Output: stdout.String() + stderr.String()}
	if cmd.ProcessState != nil {
		e.Exit = cmd.ProcessState.ExitCode()
	}
	switch {
	case ctx.Err() != nil && err != nil:
		return "", context.Cause(ctx)
	case limited.Err() != nil && err != nil:
		e.timeout, e.Reason = true, fmt.Sprintf("no answer within %v; it was ended", limit)
		return "", e
	case err != nil && cmd.ProcessState == nil:
		return "", fmt.Errorf("start %s: %w", filepath.Base(c.Program), err)
	case err == nil && c.Said != nil:
		if err = c.Said(args, stdout.String(), stderr.String()); err != nil {
			e.Reason = err.Error()
		}
	}
	if err == nil {
		return stdout.String(), nil
	}
	if c.Code != nil {
		e.Code = c.Code(e.Output)
	}
	e.Reason = cmp.Or(e.Reason, reason(filepath.Base(c.Program), stdout.String(), stderr.String(), err))
	return stdout.String(), e
}

// reason returns the line that says most: the first in which the program speaks of an
// error, else the last.
func reason(program, stdout, stderr string, err error) string {
	last := ""
	for line := range strings.Lines(stdout + "\n" + stderr) {
		line = strings.TrimSpace(strings.ToValidUTF8(line, ""))
		for _, mark := range []string{program + ": error: ", program + ": fatal error: ", "Error: "} {
			if said, ok := strings.CutPrefix(line, mark); ok {
				return said
			}
		}
		if line != "" {
			last = line
		}
	}
	return cmp.Or(last, err.Error())
}

// A bounded keeps the beginning of what is written to it.
type bounded struct{ b bytes.Buffer }

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	_, err := b.b.Write(p[:min(len(p), max(0, answerMost-b.b.Len()))])
	return len(p), err
}

func (b *bounded) String() string { return b.b.String() }
