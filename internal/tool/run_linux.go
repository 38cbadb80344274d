package tool

import (
	"os/exec"
	"runtime"
	"syscall"
)

func run(cmd *exec.Cmd) error {
	// The kernel kills the program when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = attributes()
	return cmd.Run()
}

func startAndWait(cmd *exec.Cmd, started chan<- error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = attributes()
	err := cmd.Start()
	if started <- err; err != nil {
		return err
	}
	return cmd.Wait()
}

func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
