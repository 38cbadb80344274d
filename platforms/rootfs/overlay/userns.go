package overlay

import (
	"os"
	"strings"
)

// InUserNamespace reports whether this process lives in a user namespace, where
// root is not the kernel's: overlays are then mounted with UserXattr, and no
// device can be made.
func InUserNamespace() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false // no user namespaces in this kernel
	}
	f := strings.Fields(string(b))
	return len(f) != 3 || f[0] != "0" || f[1] != "0" || f[2] != "4294967295"
}
