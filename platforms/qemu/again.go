package qemu

import (
	"fmt"
	"io"
	"strings"
)

// lostTimer is what Linux panics with when it does not see its timer tick while it
// starts. Under software emulation on a busy host that is the emulator's fault, and
// another start goes well.
const lostTimer = "IO-APIC + timer doesn't work"

// mostBoots is how often a machine is started for that.
const mostBoots = 3

// bootAgain calls boot, and calls it again where the guest has lost its timer.
func bootAgain(out io.Writer, boot func() (*machine, error)) (*machine, error) {
	for i := 1; ; i++ {
		m, err := boot()
		if err == nil || i == mostBoots || !strings.Contains(err.Error(), lostTimer) {
			return m, err
		}
		fmt.Fprintln(out, "the guest's timer did not tick, as happens under software emulation on a busy host: the machine starts again")
	}
}
