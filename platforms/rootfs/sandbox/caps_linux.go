package sandbox

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// kept are the capabilities of a command that runs as root: what packages need
// to install files and to change users. They are those of Docker's default
// without the ones to make devices, to send raw packets and to write to the
// host's audit log.
var kept = [...]uint{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID,
	unix.CAP_KILL, unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_SETPCAP,
	unix.CAP_NET_BIND_SERVICE, unix.CAP_SYS_CHROOT, unix.CAP_SETFCAP,
}

// guard is what a command under another user than root has of them. The kernel
// lets nobody look into a process (its environment, memory, files, root
// directory) who lacks a capability that it has: so a user of the host with the
// same number cannot, though the kernel takes both for one. Container runtimes let
// every user of a container open low ports, too.
var guard = [...]uintptr{unix.CAP_NET_BIND_SERVICE}

// confine takes from the calling thread, and so from what it starts, all but
// the kept capabilities and the allowed system calls. It does not set
// no_new_privs, which would break sudo in steps: the bounding set holds for
// setuid programs as well.
func confine() error {
	var mask uint64
	for _, c := range kept {
		mask |= 1 << c
	}
	for c := uintptr(0); c < 64; c++ {
		if mask&(1<<c) != 0 {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if err == unix.EINVAL {
			break // past the last one that the kernel knows
		}
		if err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("drop ambient capabilities: %w", err)
	}
	if err := scope(); err != nil {
		return err
	}
	// The filter needs a right to install it, which goes next.
	if err := installFilter(); err != nil {
		return err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{
		{Effective: uint32(mask), Permitted: uint32(mask)},
		{Effective: uint32(mask >> 32), Permitted: uint32(mask >> 32)},
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}
