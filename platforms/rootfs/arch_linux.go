package rootfs

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"bake.build/bake/platforms"
)

var _ platforms.ArchChecker = (*driver)(nil)

// binfmtDir is where the kernel shows which interpreters it starts for programs
// that it cannot run itself; see Documentation/admin-guide/binfmt-misc.rst.
const binfmtDir = "/proc/sys/fs/binfmt_misc"

// CheckArch implements platforms.ArchChecker.
func (d *driver) CheckArch(arch string) []platforms.Problem { return checkArch(arch, binfmtDir) }

func checkArch(arch, binfmt string) []platforms.Problem {
	host := runtime.GOARCH
	if arch == "" || arch == host || host == "amd64" && arch == "386" || host == "arm64" && arch == "arm" {
		return nil
	}
	// As QEMU names it, which Debian's packages register it by.
	name := map[string]string{"amd64": "x86_64", "386": "i386", "arm64": "aarch64"}[arch]
	b, err := os.ReadFile(filepath.Join(binfmt, "qemu-"+cmp.Or(name, arch)))
	if err == nil && bytes.HasPrefix(b, []byte("enabled")) {
		return nil
	}
	return []platforms.Problem{{
		What: fmt.Sprintf("this host, of %s, runs no programs of %s", host, arch),
		Fix:  "apt-get install qemu-user-static binfmt-support",
		Need: "layers of rootfs() with arch = \"" + arch + "\"",
	}}
}
