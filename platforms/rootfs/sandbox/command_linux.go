package sandbox

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// A process is a command that is ready to be started.
type process struct {
	file string
	args []string
	env  []string
	dir  string
	who  account
	tty  *os.File // its terminal, nil without one

	// shares says that the command's number may be that of a user of the host.
	shares bool
}

// prepare does inside of the machine what comes before the command.
func prepare(job Job) (*process, error) {
	who, err := lookupUser(job.User)
	if err != nil {
		return nil, err
	}
	for _, f := range job.Files {
		if err := makeFile(f); err != nil {
			return nil, fmt.Errorf("make file %s: %w", f.Path, err)
		}
	}
	p := &process{args: job.Args, env: environment(job, who), dir: job.Dir, who: who, shares: who.uid != 0 && !job.UserNS}
	if p.dir == "" {
		p.dir = "/"
	}
	if fi, err := os.Stat(p.dir); err != nil || !fi.IsDir() {
		return nil, fmt.Errorf("enter directory %s: it is not in the machine", p.dir)
	}
	if len(p.args) == 0 {
		return nil, errors.New("run command: none was given")
	}
	if p.file, err = lookPath(p.args[0], p.dir, value(p.env, "PATH")); err != nil {
		return nil, err
	}
	if job.Terminal {
		if p.tty, err = openTerminal(who); err != nil {
			return nil, err
		}
		return p, nil
	}
	// A step under another user, or one that changes it with su, must be able to
	// open /dev/stdout again.
	for fd := range 3 {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO {
			if err := unix.Fchown(fd, int(who.uid), int(who.gid)); err != nil {
				return nil, fmt.Errorf("hand over standard streams: %w", err)
			}
			if err := unix.Fchmod(fd, 0o666); err != nil {
				return nil, fmt.Errorf("hand over standard streams: %w", err)
			}
		}
	}
	return p, nil
}

// makeFile makes a file below /run, which is memory that nothing but this init
// has written to.
func makeFile(f File) error {
	name := path.Clean(f.Path)
	if !strings.HasPrefix(name, "/run/") {
		return errors.New("files in memory lie below /run")
	}
	who, err := lookupUser(f.User)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	fd, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer fd.Close()
	if _, err := fd.Write(f.Data); err != nil {
		return err
	}
	if err := fd.Chown(int(who.uid), int(who.gid)); err != nil {
		return err
	}
	return unix.Fchmod(int(fd.Fd()), f.Mode&0o7777)
}

// offline tells systemd's tools, and who asks them, that no systemd runs: units
// are enabled by links, and what would start or stop them is a notice.
var offline = []string{"container=" + Hostname, "SYSTEMD_OFFLINE=1"}

// environment is the machine's own, overridden by what the job gives.
func environment(job Job, who account) []string {
	env := []string{"PATH=" + defaultPath, "HOME=" + who.home, "LANG=C.UTF-8", "TERM=dumb"}
	env = append(env, offline...)
	if who.name != "" {
		env = append(env, "USER="+who.name, "LOGNAME="+who.name)
	}
	for _, kv := range job.Env {
		name, _, _ := strings.Cut(kv, "=")
		env = append(without(env, name), kv)
	}
	return env
}

func without(env []string, name string) []string {
	kept := env[:0]
	for _, kv := range env {
		if !strings.HasPrefix(kv, name+"=") {
			kept = append(kept, kv)
		}
	}
	return kept
}

func value(env []string, name string) string {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// lookPath finds the file of a command as a shell does.
func lookPath(name, dir, list string) (string, error) {
	if strings.Contains(name, "/") {
		file := name
		if !path.IsAbs(file) {
			file = path.Join(dir, file)
		}
		if _, err := os.Stat(file); err != nil {
			return "", &exitError{127, fmt.Sprintf("command not found: %s", name)}
		}
		return file, nil
	}
	for d := range strings.SplitSeq(list, ":") {
		if !path.IsAbs(d) {
			d = path.Join(dir, d)
		}
		file := path.Join(d, name)
		if fi, err := os.Stat(file); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", &exitError{127, fmt.Sprintf("command not found: %s", name)}
}

// start starts the command with few rights. The calling thread, which must be
// locked to its goroutine, is left with the same few.
func (p *process) start() (pid int, err error) {
	attr := &syscall.ProcAttr{
		Dir:   p.dir,
		Env:   p.env,
		Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{
			Setsid:     true,
			Credential: &syscall.Credential{Uid: p.who.uid, Gid: p.who.gid, Groups: p.who.groups},
		},
	}
	if p.shares {
		attr.Sys.AmbientCaps = guard[:]
	}
	if p.tty != nil {
		fd := p.tty.Fd()
		attr.Files = []uintptr{fd, fd, fd}
		attr.Sys.Setctty = true
	}
	if err := setLimits(); err != nil {
		return 0, err
	}
	// Nobody in the machine may look into this process or at its file, which
	// is bake's own.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("protect init: %w", err)
	}
	if err := confine(); err != nil {
		return 0, err
	}
	pid, err = syscall.ForkExec(p.file, p.args, attr)
	if err != nil {
		return 0, p.startError(err)
	}
	// The streams end when the command and its children have closed them.
	for fd := range 3 {
		unix.Close(fd)
	}
	if p.tty != nil {
		return pid, p.tty.Close()
	}
	return pid, nil
}

func (p *process) startError(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return &exitError{127, fmt.Sprintf("run %s: its interpreter or loader is not in the machine", p.file)}
	case errors.Is(err, unix.ENOEXEC):
		return &exitError{126, fmt.Sprintf("run %s: %s", p.file, badFormat(p.file))}
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EISDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		return &exitError{126, fmt.Sprintf("run %s: %v", p.file, err)}
	}
	return fmt.Errorf("run %s: %w", p.file, err)
}

// badFormat says why the kernel does not know how to run file.
func badFormat(file string) string {
	f, err := elf.Open(file)
	if err != nil {
		return "it is neither a program nor a script with an interpreter line"
	}
	defer f.Close()
	machine := strings.ToLower(strings.TrimPrefix(f.Machine.String(), "EM_"))
	return fmt.Sprintf("it is a program for %s, and this host, %s, does not run those", machine, runtime.GOARCH)
}

// setLimits gives commands the limits of a fresh login rather than those bake
// happens to run with.
func setLimits() error {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("read limits: %w", err)
	}
	// Through syscall, which keeps Go from restoring its own value on fork.
	limit := syscall.Rlimit{Cur: min(1024, files.Max), Max: min(1<<20, files.Max)}
	if err := syscall.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("set limit of open files: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("set limit of core files: %w", err)
	}
	// Children inherit it: when memory runs out, a step goes before its init, which
	// has to tell of it, and before bake.
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0); err != nil && !os.IsPermission(err) {
		return fmt.Errorf("set memory score: %w", err)
	}
	return listen()
}

// listen gives the C library's own signals their default action. Programs that
// start others by posix_spawn, such as make, leave them ignored, and neither the
// C library nor Go lets a program change them.
func listen() error {
	const first, last = 32, 33
	var action [4]uint64 // struct sigaction: the default action, no flags, an empty mask
	for sig := uintptr(first); sig <= last; sig++ {
		if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0); errno != 0 {
			return fmt.Errorf("reset signal %d: %w", sig, errno)
		}
	}
	return nil
}
