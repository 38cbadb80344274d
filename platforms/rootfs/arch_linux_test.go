package rootfs

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestCheckArch(t *testing.T) {
	dir := t.TempDir()
	for name, state := range map[string]string{"qemu-s390x": "enabled\ninterpreter /usr/bin/qemu-s390x-static\n", "qemu-riscv64": "disabled\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(state), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for arch, runs := range map[string]bool{"": true, runtime.GOARCH: true, "s390x": true, "riscv64": false, "ppc64le": false} {
		if got := checkArch(arch, dir); (len(got) == 0) != runs {
			t.Errorf("%q: %v, want that it runs: %v", arch, got, runs)
		}
	}
}
