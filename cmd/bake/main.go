// Command bake builds machine images from Starlark definitions. See the
// README for what it is and docs/reference.md for all that it takes.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"bake.build/bake/builtins"
	"bake.build/bake/internal/printable"
	"bake.build/bake/platforms/all"
	"bake.build/bake/platforms/rootfs"
	"bake.build/bake/runtime/export"
)

// version is set by the linker.
var version = "dev"

func main() {
	// A sandboxed step begins as a copy of this program.
	rootfs.Child()
	letHeapGrow(quickGC)
	os.Exit(run(os.Args[1:]))
}

// What the heap may grow by before it is collected, in percent. A build in which nothing
// changed takes some 25 ms, of which Go's own 100 would spend a fifth on a heap of a few
// MiB. Once something runs, it takes seconds, and buffers of many MiB.
const (
	quickGC  = 200
	steadyGC = 100
)

// letHeapGrow sets that, unless the user has.
func letHeapGrow(percent int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}

// run is main with the process's own streams, and returns the exit code.
func run(args []string) int {
	dir, err := os.Getwd()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bake:", err)
		return exitHost
	}
	a := &app{
		specs:    all.Table(),
		builtins: builtins.Table(),
		formats:  export.Formats(),
		enter:    rootfs.Enter,
		stdin:    os.Stdin,
		stdout:   printable.NewWriter(os.Stdout),
		stderr:   printable.NewWriter(os.Stderr),
		dir:      dir,
		getenv:   os.Getenv,
		environ:  os.Environ,
	}
	ctx, stop := interruptible()
	defer stop()
	return a.main(ctx, args)
}

// A stopError says which signal ended the build.
type stopError struct{ signal os.Signal }

func (e *stopError) Error() string { return fmt.Sprintf("stopped by a signal: %v", e.signal) }
func (e *stopError) Unwrap() error { return context.Canceled }

// interruptible returns a context that ends at the first interrupt, or when the
// terminal goes away. A second one ends the process at once: what it leaves on
// disk the next start removes.
func interruptible() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signal.Notify(signals, syscall.SIGHUP)
	}
	go func() {
		if s, ok := <-signals; ok {
			cancel(&stopError{s})
		}
		if _, ok := <-signals; ok {
			os.Exit(exitInterrupted)
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(signals)
		cancel(nil)
	}
}

// main runs one command line and returns its exit code.
func (a *app) main(ctx context.Context, args []string) int {
	root := a.command()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if cause := context.Cause(ctx); cause != nil && exitCode(err) == exitFailed {
		err = errors.Join(err, cause)
	}
	if !onlySession(err) {
		a.report(err)
	}
	return exitCode(err)
}
