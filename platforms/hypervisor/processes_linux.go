package hypervisor

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"bake.build/bake/platforms/wait"
)

// EndProcesses ends the processes of this user that have the variable, "NAME=value", in
// the environment that they were started with, and waits until they are gone. It reports
// whether there were any. Services that the program of a hypervisor leaves behind are
// told by it, when nobody knows their ids any more.
func EndProcesses(ctx context.Context, variable string) (found bool, err error) {
	begun := time.Now()
	loop := wait.Loop{What: "end the processes of a machine", Backoff: wait.Backoff{Next: 50 * time.Millisecond, Most: time.Second}}
	err = loop.Until(ctx, func(context.Context) (bool, error) {
		list, err := processesWith(variable)
		if err != nil || len(list) == 0 {
			return true, err
		}
		found = true
		signal := syscall.SIGTERM
		if time.Since(begun) > time.Second {
			signal = syscall.SIGKILL
		}
		for _, pid := range list {
			if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
				return false, os.NewSyscallError("kill", err)
			}
		}
		return false, nil
	})
	return found, err
}

// processesWith returns the processes of this user that were started with the variable.
func processesWith(variable string) (list []int, err error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	want := []byte(variable)
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		info, err := os.Stat(dir)
		if err != nil {
			continue // it has ended
		}
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Geteuid() {
			continue
		}
		environ, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil {
			continue // it has ended, or is of another namespace
		}
		for v := range bytes.SplitSeq(environ, []byte{0}) {
			if bytes.Equal(v, want) {
				list = append(list, pid)
				break
			}
		}
	}
	return list, nil
}
