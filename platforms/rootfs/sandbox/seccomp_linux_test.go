package sandbox

import (
	"testing"

	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

var abisOf = map[string][]*arch.Info{
	"amd64": {arch.X86_64, arch.I386},
	"arm64": {arch.AARCH64, arch.ARM},
}

// TestNamesExist finds slips in the list of calls.
func TestNamesExist(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range allowed {
		if seen[name] {
			t.Errorf("%s stands twice", name)
		}
		seen[name] = true
		known := false
		for _, abis := range abisOf {
			for _, abi := range abis {
				_, ok := abi.SyscallNames[name]
				known = known || ok
			}
		}
		if !known {
			t.Errorf("%s is no system call", name)
		}
	}
	for _, r := range rules {
		if seen[r.call] {
			t.Errorf("%s is judged by a rule and allowed without one", r.call)
		}
	}
}

// TestVerdicts runs the filters on calls.
func TestVerdicts(t *testing.T) {
	for goarch, abis := range abisOf {
		f, err := buildFilter(goarch)
		if err != nil {
			t.Fatal(err)
		}
		if len(f) > 4096 {
			t.Errorf("%s: %d instructions are more than the kernel takes", goarch, len(f))
		}
		for _, abi := range abis {
			for _, tt := range []struct {
				call string
				arg0 uint64
				want uint32
			}{
				{"read", 0, allow}, {"openat", 0, allow}, {"execve", 0, allow}, {"exit_group", 0, allow},
				{"ptrace", 0, allow}, {"chroot", 0, allow}, {"setgroups", 0, allow}, {"capset", 0, allow},
				{"mount", 0, refuse}, {"umount2", 0, refuse}, {"unshare", 0, refuse}, {"setns", 0, refuse},
				{"init_module", 0, refuse}, {"finit_module", 0, refuse}, {"bpf", 0, refuse}, {"keyctl", 0, refuse},
				{"open_by_handle_at", 0, refuse}, {"kexec_load", 0, refuse}, {"reboot", 0, refuse},
				{"perf_event_open", 0, refuse}, {"io_uring_setup", 0, refuse}, {"userfaultfd", 0, refuse},
				{"clock_settime", 0, refuse}, {"settimeofday", 0, refuse}, {"socketcall", 0, refuse},
				{"clone3", 0, unknown},
				{"clone", 0x11, allow}, {"clone", unix.CLONE_VM | unix.CLONE_VFORK, allow},
				{"clone", unix.CLONE_NEWUSER, refuse}, {"clone", unix.CLONE_NEWNS | 0x11, refuse}, {"clone", unix.CLONE_NEWNET, refuse},
				{"socket", unix.AF_INET, allow}, {"socket", unix.AF_UNIX, allow},
				{"socket", unix.AF_VSOCK, refuse}, {"socket", unix.AF_ALG, refuse}, {"socket", 1<<32 | unix.AF_ALG, refuse},
				{"personality", 0, allow}, {"personality", 0xffffffff, allow}, {"personality", 0x40000, refuse},
			} {
				nr, ok := abi.SyscallNames[tt.call]
				if !ok {
					continue
				}
				if got := verdict(t, f, uint32(abi.ID), uint32(nr), tt.arg0); got != tt.want {
					t.Errorf("%s: %s(%#x): %#x, want %#x", abi.Name, tt.call, tt.arg0, got, tt.want)
				}
			}
			if nr, ok := abi.SyscallNames["socket"]; ok {
				for protocol, want := range map[uint64]uint32{unix.NETLINK_ROUTE: allow, unix.NETLINK_AUDIT: noAudit} {
					if got := verdict(t, f, uint32(abi.ID), uint32(nr), unix.AF_NETLINK, unix.SOCK_RAW, protocol); got != want {
						t.Errorf("%s: netlink socket of protocol %d: %#x, want %#x", abi.Name, protocol, got, want)
					}
				}
			}
			if got := verdict(t, f, uint32(abi.ID), 4000, 0); got != unknown {
				t.Errorf("%s: a call of the future: %#x", abi.Name, got)
			}
		}
		if got := verdict(t, f, 12345, 0, 0); got != refuse {
			t.Errorf("%s: a foreign ABI: %#x", goarch, got)
		}
	}
	f, err := buildFilter("amd64")
	if err != nil {
		t.Fatal(err)
	}
	if got := verdict(t, f, uint32(arch.X86_64.ID), x32Bit, 0); got != unknown {
		t.Errorf("x32 read: %#x", got)
	}
}

// verdict runs a filter as the kernel does.
func verdict(t *testing.T, f filter, abi, nr uint32, args ...uint64) uint32 {
	t.Helper()
	data := map[uint32]uint32{offsetCall: nr, offsetArch: abi}
	for i, arg := range args {
		at := offsetArgs + 8*uint32(i)
		data[at], data[at+4] = uint32(arg), uint32(arg>>32)
	}
	var word uint32
	for pc := 0; pc < len(f); pc++ {
		in := f[pc]
		var met bool
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			word = data[in.K]
			continue
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(in.K)
			continue
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			met = word == in.K
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			met = word > in.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			met = word >= in.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			met = word&in.K != 0
		default:
			t.Fatalf("instruction %d is %#x, which the filter does not use", pc, in.Code)
		}
		if met {
			pc += int(in.Jt)
		} else {
			pc += int(in.Jf)
		}
	}
	t.Fatal("the filter ends without a verdict")
	return 0
}
