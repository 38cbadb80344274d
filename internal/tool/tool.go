// Package tool runs programs of the host that work for bake, so that they go
// when bake goes and stop when bake says so.
package tool

import (
	"os/exec"
	"time"
)

// Run is cmd.Run of a program that the terminal's Ctrl-C does not reach, since
// it is for bake to act on, and that the kernel kills when bake dies, where the
// kernel can do that. It starts the program on the calling goroutine's thread,
// and keeps the thread until the end. cmd.SysProcAttr is replaced.
func Run(cmd *exec.Cmd) error { return run(cmd) }

// Start is cmd.Start of such a program, on a thread of its own. ended gets what
// cmd.Wait returns, once, and is then closed: the caller does not call cmd.Wait.
func Start(cmd *exec.Cmd) (ended <-chan error, err error) {
	started, end := make(chan error), make(chan error, 1)
	go func() {
		defer close(end)
		end <- startAndWait(cmd, started)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return end, nil
}

// Group makes the end of the context of cmd, which Run or Start is to start, the end of
// all programs that it has started in turn, where the kernel knows groups.
func Group(cmd *exec.Cmd) { group(cmd) }

// Stop ends a program that Start began and, where the system has groups of processes,
// what that has started: it asks, and kills after grace. It returns when the program
// has ended.
func Stop(cmd *exec.Cmd, ended <-chan error, grace time.Duration) {
	terminate(cmd)
	select {
	case <-ended:
	case <-time.After(grace):
	}
	kill(cmd)
	<-ended // at once where it has ended: the channel is closed
}

// Kill kills what a program that has ended left running, where the system has groups of
// processes.
func Kill(cmd *exec.Cmd) { kill(cmd) }

// Guard kills what a program that Start began has started in its group of processes when
// bake dies, as Start does with the program alone. release ends that, once the
// program has ended. Where the system has no such groups it does nothing.
func Guard(cmd *exec.Cmd) (release func(), err error) { return guard(cmd) }

// RunAll is Run of a program that starts others: they, too, go when bake dies; see Guard.
func RunAll(cmd *exec.Cmd) error {
	ended, err := Start(cmd)
	if err != nil {
		return err
	}
	release, err := Guard(cmd)
	if err != nil {
		Stop(cmd, ended, 0)
		return err
	}
	defer release()
	return <-ended
}
