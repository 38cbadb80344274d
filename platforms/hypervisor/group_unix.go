//go:build unix

package hypervisor

import (
	"errors"
	"os"
	"syscall"
)

// endGroup ends a process that leads a group, and the group with it.
func endGroup(p *os.Process) error {
	if group, err := syscall.Getpgid(p.Pid); err == nil && group == p.Pid {
		if err := syscall.Kill(-p.Pid, syscall.SIGKILL); err == nil || errors.Is(err, syscall.ESRCH) {
			return nil
		}
	}
	return p.Kill()
}
