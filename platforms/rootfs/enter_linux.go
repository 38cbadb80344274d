package rootfs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// enterArg0 is the name that bake is started with to become root in a new user
// namespace: the command line to execute then follows it.
const enterArg0 = "bake-enter"

// enteredEnv tells the program that Enter started of its parent.
const enteredEnv = "_BAKE_ENTERED_FROM"

// mappedFD is the descriptor from which bake-enter reads that it is mapped.
const mappedFD = 3

// Enter gives this process the rights that machines need. For root it does
// nothing. For any other user it starts the program again, with the same
// arguments, in a user namespace where the user is root and owns the
// subordinate ids of /etc/subuid and /etc/subgid; it passes signals on, and
// exits with the program's exit code rather than return. Where the host does
// not allow that, the error says what to do.
//
// Enter is called before the process has done anything that must not be done
// twice.
func Enter() error {
	if from := os.Getenv(enteredEnv); from != "" {
		return entered(from)
	}
	if os.Geteuid() == 0 {
		return nil
	}
	maps, err := idMaps()
	if err != nil {
		return fmt.Errorf("%w; %s", err, advice())
	}
	code, err := reexecute(maps)
	if err != nil {
		return fmt.Errorf("make user namespace: %w; %s", err, advice())
	}
	os.Exit(code)
	return nil
}

func advice() string {
	name := "$USER"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	return "run bake as root, or run once as root: apt-get install uidmap && usermod --add-subuids 100000-165535 --add-subgids 100000-165535 " + name
}

// entered goes on in the namespace. It arranges to die with the process that
// waits outside.
func entered(from string) error {
	if err := os.Unsetenv(enteredEnv); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("enter user namespace: %w", err)
	}
	if from != strconv.Itoa(os.Getppid()) {
		return errors.New("enter user namespace: the process that made it is gone")
	}
	if os.Geteuid() != 0 {
		return errors.New("enter user namespace: the host maps no root into it")
	}
	return nil
}

// enterMain waits until it is mapped and then executes the program, which makes
// it root with all capabilities in the namespace.
func enterMain() {
	var b [1]byte
	if n, err := unix.Read(mappedFD, b[:]); n != 1 || err != nil {
		os.Exit(1) // the process outside has told why
	}
	unix.Close(mappedFD)
	env := append(os.Environ(), enteredEnv+"="+strconv.Itoa(os.Getppid()))
	err := unix.Exec("/proc/self/exe", os.Args[1:], env)
	fmt.Fprintln(os.Stderr, "bake: enter user namespace:", err)
	os.Exit(1)
}

// An idMap is a command that maps ids into the namespace of a process.
type idMap struct {
	tool string
	args []string
}

// idMaps finds out what can be mapped: the user to root, and the subordinate
// ids to the ids from 1 on.
func idMaps() ([]idMap, error) {
	u, err := user.Current()
	if err != nil {
		return nil, fmt.Errorf("look up user: %w", err)
	}
	var maps []idMap
	for _, m := range []struct{ tool, file, own string }{
		{"newuidmap", "/etc/subuid", u.Uid},
		{"newgidmap", "/etc/subgid", u.Gid},
	} {
		tool, err := exec.LookPath(m.tool)
		if err != nil {
			return nil, fmt.Errorf("machines need root's rights, and %s is not installed", m.tool)
		}
		database, err := readIfAny(m.file)
		if err != nil {
			return nil, err
		}
		r, ok := findSubIDs(string(database), u.Username, u.Uid)
		if !ok {
			return nil, fmt.Errorf("machines need root's rights, and %s gives %s no range of %d ids", m.file, u.Username, minSubIDs)
		}
		maps = append(maps, idMap{tool, []string{
			"0", m.own, "1",
			"1", strconv.FormatUint(r.first, 10), strconv.FormatUint(r.count, 10),
		}})
	}
	return maps, nil
}

// reexecute runs this program in a new user namespace to its end.
func reexecute(maps []idMap) (code int, err error) {
	// The kernel kills the child when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ready, tell, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer tell.Close()
	cmd := &exec.Cmd{
		Path:       "/proc/self/exe",
		Args:       append([]string{enterArg0}, os.Args...),
		Stdin:      os.Stdin,
		Stdout:     os.Stdout,
		Stderr:     os.Stderr,
		ExtraFiles: []*os.File{ready}, // mappedFD
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			Pdeathsig:  syscall.SIGKILL,
		},
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	defer signal.Stop(signals)
	err = cmd.Start()
	ready.Close()
	if err != nil {
		return 0, err
	}
	for _, m := range maps {
		args := append([]string{strconv.Itoa(cmd.Process.Pid)}, m.args...)
		if out, err := exec.Command(m.tool, args...).CombinedOutput(); err != nil {
			tell.Close()
			_ = cmd.Wait() // it exits since it was not mapped
			return 0, fmt.Errorf("%s: %w: %s", m.tool, err, strings.TrimSpace(string(out)))
		}
	}
	if _, err := tell.Write([]byte{1}); err != nil {
		return 0, errors.Join(err, cmd.Wait())
	}
	go forward(signals, cmd.Process)
	return exitCode(cmd.Wait())
}

// forward passes signals on, but for those that the terminal has already sent
// to the program as well: it would take a second one for impatience.
func forward(signals <-chan os.Signal, p *os.Process) {
	for s := range signals {
		if (s == unix.SIGINT || s == unix.SIGQUIT) && inForeground() {
			continue
		}
		_ = p.Signal(s) // an error says that it has ended
	}
}

func inForeground() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// exitCode gives the exit code of a program, as a shell would.
func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case !errors.As(err, &exit):
		return 0, err
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return exit.ExitCode(), nil
}
