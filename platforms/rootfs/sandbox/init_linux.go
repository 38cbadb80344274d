package sandbox

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Main is the init. It does not return. It exits by the system call itself,
// since there is nothing to flush, and the race detector would sleep first.
func Main() {
	// Whatever thread makes namespaces and drops rights is the one that forks.
	runtime.LockOSThread()
	unix.Umask(0o022)
	if err := closeOnExec(); err != nil {
		unix.Exit(1) // its absence is what bake sees
	}
	// A pid namespace drops signals to its init that have no handler, but the Go
	// runtime has handlers, with which a command could end its own init. To
	// ignore them would be inherited; a channel that nobody reads is not.
	signal.Notify(make(chan os.Signal, 1), unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGPIPE, unix.SIGUSR1, unix.SIGUSR2, unix.SIGABRT)

	in := bufio.NewReader(os.NewFile(JobFD, "job"))
	decoder := json.NewDecoder(in)
	var job Job
	if err := decoder.Decode(&job); err != nil {
		unix.Exit(1) // bake died while it wrote: nobody is left to be told
	}
	go obey(io.MultiReader(decoder.Buffered(), in), time.Duration(job.GraceMS)*time.Millisecond)

	result, err := run(job)
	if err != nil {
		result = Result{Err: err.Error()}
	}
	if err := report(result); err != nil {
		unix.Exit(1) // as above
	}
	unix.Exit(0)
}

// closeOnExec keeps from the command all descriptors but the first three: those
// of the init, and those that bake itself was started with by mistake.
func closeOnExec() error {
	err := unix.CloseRange(JobFD, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	entries, err := os.ReadDir("/proc/self/fd") // before Linux 5.11
	if err != nil {
		return err
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= JobFD {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// obey waits for orders, and for the end of bake.
func obey(orders io.Reader, grace time.Duration) {
	var order [1]byte
	for {
		if _, err := orders.Read(order[:]); err != nil {
			unix.Exit(1) // the kernel kills what is left in the namespace
		}
		if order[0] == Terminate {
			// Both cannot fail in a way that matters: no process is left then.
			_ = unix.Kill(-1, unix.SIGTERM)
			_ = unix.Kill(-1, unix.SIGCONT)
			time.AfterFunc(grace, func() { _ = unix.Kill(-1, unix.SIGKILL) })
		}
	}
}

func report(r Result) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = unix.Write(ResultFD, b)
	return err
}

// run prepares the machine, runs the command and reaps until it has ended.
func run(job Job) (Result, error) {
	if err := enter(job); err != nil {
		return Result{}, err
	}
	p, err := prepare(job)
	if err != nil {
		var exit *exitError
		if errors.As(err, &exit) {
			return Result{Code: exit.code, Reason: exit.reason}, nil
		}
		return Result{}, err
	}
	pid, err := p.start()
	if err != nil {
		var exit *exitError
		if errors.As(err, &exit) {
			return Result{Code: exit.code, Reason: exit.reason}, nil
		}
		return Result{}, err
	}
	return reap(pid)
}

func reap(pid int) (Result, error) {
	for {
		var ws unix.WaitStatus
		got, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case err == unix.EINTR || err == nil && got != pid:
			continue
		case err != nil:
			return Result{}, fmt.Errorf("wait for command: %w", err)
		case ws.Signaled():
			return Result{Code: -1, Signal: ws.Signal().String()}, nil
		case ws.Exited():
			return Result{Code: ws.ExitStatus()}, nil
		}
	}
}

// An exitError is the end of a command that could not be started for a reason
// that lies in the machine, with the exit code that a shell would give.
type exitError struct {
	code   int
	reason string
}

func (e *exitError) Error() string { return e.reason }
