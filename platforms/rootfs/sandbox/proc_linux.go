package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// visible is what a machine sees of /proc beside processes. All else tells of
// the host or acts on it, and is hidden; so will be what new kernels add.
var visible = [...]string{
	"cgroups", "cmdline", "consoles", "cpuinfo", "crypto", "devices", "filesystems", "loadavg", "locks",
	"meminfo", "misc", "stat", "swaps", "sys", "sysvipc", "uptime", "version", "vmstat",
}

// mountProc mounts /proc with the processes of the machine. Its other entries
// are those of the kernel itself, whose modes and values a root user could
// change for the host as well: they come from a second, read-only mount.
func mountProc(r *root, job Job) error {
	err := r.on("/proc", func(at string) error {
		return unix.Mount("proc", at, "proc", noExec, "")
	})
	if err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	frozen := filepath.Join(job.Base, "proc")
	if err := os.Mkdir(frozen, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("proc", frozen, "proc", noExec|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("mount read-only proc: %w", err)
	}
	entries, err := os.ReadDir(frozen)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if name[0] >= '0' && name[0] <= '9' || e.Type()&os.ModeSymlink != 0 {
			continue
		}
		cover := r.hide
		if slices.Contains(visible[:], name) {
			cover = func(at string, _ bool) error {
				return unix.Mount(filepath.Join(frozen, name), at, "", unix.MS_BIND, "")
			}
		}
		if err := r.cover("/proc/"+name, cover); err != nil {
			return err
		}
	}
	return nil
}
