package origin

import (
	"context"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// isolated returns a command in mount, pid, ipc and uts namespaces of its own.
// When it ends, is cancelled, or bake dies, all of its processes and mounts go.
func isolated(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
		// Ctrl-C is for bake to act on.
		Setsid: true,
	}
	cmd.WaitDelay = 5 * time.Second
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive",
	}
	return cmd
}

// run runs cmd on the calling goroutine's thread, which is kept until the end:
// the kernel kills the command when the thread that started it ends.
func run(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return cmd.Run()
}
