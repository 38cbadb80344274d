package tool

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// watch ends when its input does, which this process holds open, and then kills a group
// of processes.
const watch = `read -r _
kill -KILL "-$1"`

func guard(cmd *exec.Cmd) (release func(), err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	watcher := exec.Command("/bin/sh", "-c", watch, "sh", strconv.Itoa(cmd.Process.Pid))
	watcher.Stdin = r
	watcher.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = watcher.Start()
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return func() {
		_ = watcher.Process.Kill() // it waits, and has to kill nothing
		_ = watcher.Wait()         // killed
		_ = w.Close()              // nothing reads it
	}, nil
}
