package sandbox

import (
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// Verdicts of a filter, see seccomp(2).
const (
	allow   = unix.SECCOMP_RET_ALLOW
	refuse  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	unknown = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS) // makes a libc fall back
	noAudit = unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)
)

// Offsets in struct seccomp_data. Only the low words of arguments are looked
// at: all that are judged here are ints to the kernel. Both machines that bake
// runs on are little-endian.
const (
	offsetCall = 0
	offsetArch = 4
	offsetArgs = 16
)

const x32Bit = 0x40000000

// A filter is a classic BPF program in the making.
type filter []unix.SockFilter

func (f *filter) emit(code uint16, k uint32, jt, jf uint8) {
	*f = append(*f, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
}

func (f *filter) load(offset uint32) { f.emit(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, offset, 0, 0) }
func (f *filter) ret(verdict uint32) { f.emit(unix.BPF_RET|unix.BPF_K, verdict, 0, 0) }

// jump compares the loaded word with k, and skips jt or jf instructions.
func (f *filter) jump(op uint16, k uint32, jt, jf uint8) {
	f.emit(unix.BPF_JMP|op|unix.BPF_K, k, jt, jf)
}

// installFilter sets the filter of the calling thread.
func installFilter() error {
	f, err := buildFilter(runtime.GOARCH)
	if err != nil {
		return err
	}
	prog := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return fmt.Errorf("set system call filter: %w", errno)
	}
	return nil
}

// buildFilter makes the filter of a host, with the 32-bit programs that it can
// run as well.
func buildFilter(goarch string) (filter, error) {
	var abis []*arch.Info
	switch goarch {
	case "amd64":
		abis = []*arch.Info{arch.X86_64, arch.I386}
	case "arm64":
		abis = []*arch.Info{arch.AARCH64, arch.ARM}
	default:
		return nil, fmt.Errorf("filter system calls: no list for %s", goarch)
	}
	var f filter
	for _, abi := range abis {
		body := abiFilter(abi)
		f.load(offsetArch)
		f.jump(unix.BPF_JEQ, uint32(abi.ID), 1, 0)
		f.emit(unix.BPF_JMP|unix.BPF_JA, uint32(len(body)), 0, 0)
		f = append(f, body...)
	}
	f.ret(refuse)
	return f, nil
}

// abiFilter judges the calls of one ABI. Each path through it returns.
func abiFilter(abi *arch.Info) filter {
	var f filter
	f.load(offsetCall)
	if abi == arch.X86_64 {
		f.jump(unix.BPF_JGE, x32Bit, 0, 1)
		f.ret(unknown)
	}
	if nr, ok := abi.SyscallNames["clone3"]; ok {
		f.jump(unix.BPF_JEQ, uint32(nr), 0, 1)
		f.ret(unknown) // its flags lie in memory, where no filter can see them
	}
	for _, r := range rules {
		nr, ok := abi.SyscallNames[r.call]
		if !ok {
			continue
		}
		body := r.body()
		f.jump(unix.BPF_JEQ, uint32(nr), 0, uint8(len(body)))
		f = append(f, body...)
	}
	newest := 0
	for _, nr := range abi.SyscallNames {
		if nr < 0xf0000 { // calls private to ARM lie above
			newest = max(newest, nr)
		}
	}
	f.ranges(numbers(abi))
	f.jump(unix.BPF_JGT, uint32(newest), 0, 1)
	f.ret(unknown)
	f.ret(refuse)
	return f
}

// numbers are the allowed calls that the ABI has, in order.
func numbers(abi *arch.Info) []uint32 {
	var nrs []uint32
	for _, name := range allowed {
		if nr, ok := abi.SyscallNames[name]; ok {
			nrs = append(nrs, uint32(nr))
		}
	}
	slices.Sort(nrs)
	return slices.Compact(nrs)
}

// ranges allows the numbers, run by run: the kernel evaluates a new filter for
// every call there is, so a short program is worth having.
func (f *filter) ranges(nrs []uint32) {
	for i := 0; i < len(nrs); {
		j := i
		for j+1 < len(nrs) && nrs[j+1] == nrs[j]+1 {
			j++
		}
		f.jump(unix.BPF_JGE, nrs[i], 0, 2)
		f.jump(unix.BPF_JGT, nrs[j], 1, 0)
		f.ret(allow)
		i = j + 1
	}
}

// A rule allows a call by one of its arguments.
type rule struct {
	call string
	arg  uint32
	mask uint32   // when set, allowed if none of these bits is
	any  []uint32 // when set, allowed if the argument is one of them
	none []uint32 // when set, allowed if the argument is none of them

	// A socket of this family is none of this protocol: a kernel without audit
	// says so, and sudo, su and sshd go on without a word.
	family, protocol uint32
}

// namespaceFlags are the flags of clone(2) that make namespaces.
const namespaceFlags = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

var rules = [...]rule{
	{call: "clone", arg: 0, mask: namespaceFlags},
	{call: "personality", any: []uint32{0, 0x8, 0x20000, 0x20008, 0xffffffff}},
	{call: "socket", none: []uint32{unix.AF_VSOCK, unix.AF_ALG}, family: unix.AF_NETLINK, protocol: unix.NETLINK_AUDIT},
}

func (r rule) body() filter {
	var f filter
	f.load(offsetArgs + 8*r.arg)
	switch {
	case r.mask != 0:
		f.jump(unix.BPF_JSET, r.mask, 0, 1)
		f.ret(refuse)
		f.ret(allow)
	case len(r.any) > 0:
		for _, v := range r.any {
			f.jump(unix.BPF_JEQ, v, 0, 1)
			f.ret(allow)
		}
		f.ret(refuse)
	default:
		for _, v := range r.none {
			f.jump(unix.BPF_JEQ, v, 0, 1)
			f.ret(refuse)
		}
		if r.protocol != 0 {
			f.jump(unix.BPF_JEQ, r.family, 0, 3)
			f.load(offsetArgs + 8*2)
			f.jump(unix.BPF_JEQ, r.protocol, 0, 1)
			f.ret(noAudit)
		}
		f.ret(allow)
	}
	return f
}
