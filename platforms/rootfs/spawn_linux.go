package rootfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/rootfs/sandbox"
)

// An initProcess is the init of one command, seen from outside.
type initProcess struct {
	cmd     *exec.Cmd
	results *net.UnixConn
	ended   chan error // the end of the process, once
	stdin   *os.File   // where the command's input goes, nil without one

	mu   sync.Mutex // held for writing to jobs
	jobs *os.File
}

const namespaces = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS

// spawn starts an init, which then waits for its job.
func (d *driver) spawn(job sandbox.Job, c platforms.Cmd) (*initProcess, error) {
	self, err := d.self()
	if err != nil {
		return nil, err
	}
	p := &initProcess{ended: make(chan error, 1)}
	var theirs []*os.File
	defer func() {
		for _, f := range theirs {
			f.Close()
		}
	}()
	jobsEnd, jobs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.jobs = jobs
	theirs = append(theirs, jobsEnd)
	results, resultsEnd, err := socketPair()
	if err != nil {
		return nil, errors.Join(err, jobs.Close())
	}
	p.results = results
	theirs = append(theirs, resultsEnd)

	p.cmd = &exec.Cmd{
		Path:       fmt.Sprintf("/proc/self/fd/%d", self.Fd()),
		Args:       []string{sandbox.Arg0},
		Env:        []string{}, // bake's own is none of the machine's business
		Dir:        "/",
		ExtraFiles: []*os.File{jobsEnd, resultsEnd}, // sandbox.JobFD, sandbox.ResultFD
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: namespaces,
			Pdeathsig:  syscall.SIGKILL,
			Setsid:     true,
		},
	}
	if !job.Network {
		p.cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNET
	}
	p.outputs(c)
	if c.Stdin != nil {
		end, stdin, err := os.Pipe()
		if err != nil {
			return nil, errors.Join(err, p.closeAll())
		}
		theirs = append(theirs, end)
		p.cmd.Stdin, p.stdin = end, stdin
	}
	if err := p.begin(); err != nil {
		return nil, errors.Join(fmt.Errorf("start init: %w", err), p.closeAll())
	}
	if p.stdin != nil {
		go feed(p.stdin, c.Stdin)
	}
	return p, nil
}

// outputs makes the command write to pipes, whatever the writers are: a
// descriptor of the host, such as its terminal, is not for the machine.
func (p *initProcess) outputs(c platforms.Cmd) {
	if c.Stdout != nil {
		p.cmd.Stdout = &pipeOnly{c.Stdout}
	}
	switch {
	case c.Stderr == nil:
	case c.OneStream():
		p.cmd.Stderr = p.cmd.Stdout // one pipe keeps the order
	default:
		p.cmd.Stderr = &pipeOnly{c.Stderr}
	}
}

type pipeOnly struct{ io.Writer }

// feed copies the command's input. An error means that the command is not
// interested any more, which is its own affair.
func feed(w *os.File, r io.Reader) {
	_, _ = io.Copy(w, r)
	w.Close()
}

// begin starts the process on a thread that lives as long as it: the kernel
// kills the process when the thread that started it ends.
func (p *initProcess) begin() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.ended <- p.cmd.Wait()
		}
	}()
	return <-started
}

// send hands over the job. An error shows as an init that gives no result.
func (p *initProcess) send(job sandbox.Job) {
	p.mu.Lock()
	go func() {
		defer p.mu.Unlock()
		_ = json.NewEncoder(p.jobs).Encode(job)
	}()
}

// stop ends the command: at once, or with a time of grace.
func (p *initProcess) stop(now bool) {
	// An init that does not even take its job cannot be asked.
	if !now && p.mu.TryLock() {
		_, err := p.jobs.Write([]byte{sandbox.Terminate})
		p.mu.Unlock()
		if err == nil {
			// For an init that hangs, as in a mount.
			time.AfterFunc(grace+500*time.Millisecond, func() { _ = p.cmd.Process.Kill() })
			return
		}
	}
	_ = p.cmd.Process.Kill() // an error says that it has ended
}

// wait waits for the process and the last of its output. An init that ends
// other than with a result is no error here: the lack of a result is.
func (p *initProcess) wait() error {
	err := <-p.ended
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil
	}
	return errors.Join(err, p.closeAll())
}

// kill ends the process before it has done anything.
func (p *initProcess) kill() error {
	_ = p.cmd.Process.Kill()
	return p.wait()
}

func (p *initProcess) closeAll() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	errs := []error{p.jobs.Close(), p.results.Close()}
	if p.stdin != nil {
		p.stdin.Close() // feed may have closed it
	}
	return errors.Join(errs...)
}

func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "results"), os.NewFile(uintptr(fds[1]), "results")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return conn.(*net.UnixConn), theirs, nil
}
