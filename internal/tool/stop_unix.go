//go:build unix

package tool

import (
	"os/exec"
	"syscall"
)

// signalGroup sends a signal to the program's group of processes, if it has one of its
// own.
func signalGroup(cmd *exec.Cmd, sig syscall.Signal) bool {
	if a := cmd.SysProcAttr; a == nil || !a.Setpgid {
		return false
	}
	_ = syscall.Kill(-cmd.Process.Pid, sig) // all of it may have ended
	return true
}

func terminate(cmd *exec.Cmd) {
	if !signalGroup(cmd, syscall.SIGTERM) {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	}
}

func kill(cmd *exec.Cmd) {
	if !signalGroup(cmd, syscall.SIGKILL) {
		_ = cmd.Process.Kill() // it may have ended
	}
}
