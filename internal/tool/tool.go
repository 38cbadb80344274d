// Package tool runs programs of the host that work for bake, so that they go
// when bake goes and stop when bake says so.
package tool

import "os/exec"

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
