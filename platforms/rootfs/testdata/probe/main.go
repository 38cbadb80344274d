// Command probe tries from inside of a machine what no step may do, and prints
// one line for each attempt: its name and what came of it.
package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) > 1 {
		dial(os.Args[1])
		return
	}
	for _, a := range attempts {
		result := "DONE"
		if err := a.try(); err != nil {
			result = err.Error()
		}
		fmt.Printf("%s: %s\n", a.name, result)
	}
}

// dial connects to an abstract unix socket.
func dial(name string) {
	conn, err := net.Dial("unix", "@"+name)
	if err != nil {
		fmt.Println("refused:", err)
		return
	}
	conn.Close()
	fmt.Println("CONNECTED")
}

type attempt struct {
	name string
	try  func() error
}

func call(name string, nr uintptr, args ...uintptr) attempt {
	return attempt{name, func() error {
		var a [6]uintptr
		copy(a[:], args)
		if _, _, errno := unix.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
			return errno
		}
		return nil
	}}
}

func socket(name string, domain, kind int) attempt {
	return attempt{name, func() error {
		_, err := unix.Socket(domain, kind, 0)
		return err
	}}
}

func clone(name string, flags uintptr) attempt {
	return attempt{name, func() error {
		cmd := exec.Command("/bin/true")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
		return cmd.Run()
	}}
}

func write(file, text string) attempt {
	return attempt{"write " + file, func() error { return os.WriteFile(file, []byte(text), 0) }}
}

func open(file string) attempt {
	return attempt{"open " + file, func() error {
		f, err := os.Open(file)
		if err == nil {
			f.Close()
		}
		return err
	}}
}

var (
	zero [256]byte
	ptr  = uintptr(unsafe.Pointer(&zero))
)

var attempts = []attempt{
	{"mount", func() error { return unix.Mount("x", "/tmp", "tmpfs", 0, "") }},
	{"umount", func() error { return unix.Unmount("/proc", unix.MNT_DETACH) }},
	{"remount", func() error { return unix.Mount("", "/proc/sys", "", unix.MS_REMOUNT|unix.MS_BIND, "") }},
	{"pivot_root", func() error { return unix.PivotRoot("/", "/tmp") }},
	{"unshare user", func() error { return unix.Unshare(unix.CLONE_NEWUSER) }},
	{"unshare mount", func() error { return unix.Unshare(unix.CLONE_NEWNS) }},
	clone("clone user", unix.CLONE_NEWUSER),
	clone("clone pid", unix.CLONE_NEWPID),
	call("clone3", unix.SYS_CLONE3, ptr, 88),
	call("setns", unix.SYS_SETNS, 0, 0),
	{"mknod disk", func() error { return unix.Mknod("/tmp/vda", unix.S_IFBLK|0o600, int(unix.Mkdev(254, 0))) }},
	{"mknod mem", func() error { return unix.Mknod("/tmp/mem", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 1))) }},
	call("init_module", unix.SYS_INIT_MODULE, ptr, 1, ptr),
	call("finit_module", unix.SYS_FINIT_MODULE, 0, ptr, 0),
	call("delete_module", unix.SYS_DELETE_MODULE, ptr, 0),
	call("bpf", unix.SYS_BPF, 0, ptr, 64),
	call("keyctl", unix.SYS_KEYCTL, 0, 0),
	call("add_key", unix.SYS_ADD_KEY, ptr, ptr, ptr, 1, 0),
	call("request_key", unix.SYS_REQUEST_KEY, ptr, ptr, 0, 0),
	{"ptrace init", func() error { return unix.PtraceAttach(1) }},
	call("open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, 0, ptr, 0),
	call("kexec_load", unix.SYS_KEXEC_LOAD, 0, 0, 0, 0),
	call("reboot", unix.SYS_REBOOT, 0, 0, 0),
	{"settimeofday", func() error { return unix.Settimeofday(&unix.Timeval{Sec: 1}) }},
	call("clock_settime", unix.SYS_CLOCK_SETTIME, 0, ptr),
	{"sethostname", func() error { return unix.Sethostname([]byte("x")) }},
	call("swapon", unix.SYS_SWAPON, ptr, 0),
	call("syslog", unix.SYS_SYSLOG, 3, ptr, 1),
	call("perf_event_open", unix.SYS_PERF_EVENT_OPEN, ptr, 0, 0, 0, 0),
	call("io_uring_setup", unix.SYS_IO_URING_SETUP, 1, ptr),
	call("userfaultfd", unix.SYS_USERFAULTFD, 0),
	call("quotactl", unix.SYS_QUOTACTL, 0, 0, 0, 0),
	call("acct", unix.SYS_ACCT, 0),
	call("fanotify_init", unix.SYS_FANOTIFY_INIT, 0, 0),
	call("fsopen", unix.SYS_FSOPEN, ptr, 0),
	call("open_tree", unix.SYS_OPEN_TREE, 0, ptr, 0),
	call("move_mount", unix.SYS_MOVE_MOUNT, 0, ptr, 0, ptr, 0),
	call("mount_setattr", unix.SYS_MOUNT_SETATTR, 0, ptr, 0, ptr, 32),
	call("personality", unix.SYS_PERSONALITY, 0x0040000),
	call("x32 call", 0x40000000+39),
	call("call of the future", 5000),
	socket("socket vsock", unix.AF_VSOCK, unix.SOCK_STREAM),
	socket("socket alg", unix.AF_ALG, unix.SOCK_SEQPACKET),
	socket("socket packet", unix.AF_PACKET, unix.SOCK_RAW),
	socket("socket raw", unix.AF_INET, unix.SOCK_RAW),
	write("/proc/sys/kernel/hostname", "x"),
	write("/proc/sys/kernel/core_pattern", "|/x"),
	write("/proc/sysrq-trigger", "h"),
	write("/sys/power/state", "mem"),
	write("/sys/class/net/lo/ifalias", "x"),
	{"chmod /proc/uptime", func() error { return os.Chmod("/proc/uptime", 0o600) }},
	{"chmod /proc/keys", func() error { return os.Chmod("/proc/keys", 0o600) }},
	{"chmod /sys/class", func() error { return os.Chmod("/sys/class", 0o700) }},
	open("/dev/sda"), open("/dev/vda"), open("/dev/mem"), open("/dev/kmsg"), open("/dev/kvm"), open("/dev/fuse"),
	open("/proc/1/exe"), open("/proc/1/root/etc"), open("/proc/1/cwd/etc"), open("/proc/1/fd/0"), open("/proc/1/environ"), open("/proc/1/mem"),
}
