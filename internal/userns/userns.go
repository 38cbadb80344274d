// Package userns tells what user namespace this process lives in.
package userns

import (
	"os"
	"strings"
)

// Inside reports whether this process lives in a user namespace, where root is
// not the kernel's: overlays are then mounted with userxattr, which keeps their
// marks in user.overlay.*, and no device can be made.
func Inside() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false // no user namespaces in this kernel
	}
	f := strings.Fields(string(b))
	return len(f) != 3 || f[0] != "0" || f[1] != "0" || f[2] != "4294967295"
}

// OverlayPrefix begins the names of the attributes in which overlayfs keeps its
// marks for this process. Those with the other prefix are files' own.
func OverlayPrefix() string {
	if Inside() {
		return "user.overlay."
	}
	return "trusted.overlay."
}
