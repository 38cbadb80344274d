package sandbox

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// scopeAbstractUnixSocket is LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET of Linux 6.12,
// see landlock(7).
const scopeAbstractUnixSocket = 1 << 0

type rulesetAttr struct{ fs, net, scoped uint64 }

// scope keeps the command from abstract unix sockets that were made outside of
// the machine: they belong to the network namespace, which it shares with the
// host, and speak to the host's daemons. Kernels before 6.12 cannot.
func scope() error {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 || version < 6 {
		return nil
	}
	attr := rulesetAttr{scoped: scopeAbstractUnixSocket}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return fmt.Errorf("make landlock rules: %w", errno)
	}
	defer unix.Close(int(fd))
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return fmt.Errorf("set landlock rules: %w", errno)
	}
	return nil
}
