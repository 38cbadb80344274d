package sandbox

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openTerminal makes a pseudo terminal in the machine's own devpts, hands its
// master to bake and returns its other end.
func openTerminal(who account) (*os.File, error) {
	master, err := unix.Open("/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open terminal: %w", err)
	}
	defer unix.Close(master)
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return nil, fmt.Errorf("unlock terminal: %w", err)
	}
	number, err := unix.IoctlGetUint32(master, unix.TIOCGPTN)
	if err != nil {
		return nil, fmt.Errorf("name terminal: %w", err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open terminal: %w", err)
	}
	if err := tty.Chown(int(who.uid), -1); err != nil {
		return nil, fmt.Errorf("hand over terminal: %w", err)
	}
	if err := unix.Sendmsg(ResultFD, []byte{0}, unix.UnixRights(master), nil, 0); err != nil {
		return nil, fmt.Errorf("hand over terminal: %w", err)
	}
	return tty, nil
}
