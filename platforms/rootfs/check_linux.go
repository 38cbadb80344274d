package rootfs

import (
	"bytes"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/rootfs/origin"
	"bake.build/bake/platforms/rootfs/overlay"
)

// Check implements platforms.Checker.
func (d *driver) Check() []platforms.Problem {
	return append(d.checkMachines(), origin.Problems()...)
}

// checkMachines says what the host lacks for machines.
func (d *driver) checkMachines() []platforms.Problem {
	const need = "machines of rootfs()"
	if os.Geteuid() != 0 {
		return checkUser(need)
	}
	if err := d.tryMachine(); err != nil {
		return []platforms.Problem{{
			What: "this host does not let bake make machines: " + err.Error(),
			Fix:  "run bake as root of the host or of a privileged container, with its cache on ext4, xfs, btrfs or tmpfs",
			Need: need,
		}}
	}
	return nil
}

// checkUser says what an ordinary user lacks to be let into a user namespace.
func checkUser(need string) []platforms.Problem {
	var problems []platforms.Problem
	if b, err := os.ReadFile("/proc/sys/kernel/unprivileged_userns_clone"); err == nil && bytes.HasPrefix(b, []byte("0")) {
		problems = append(problems, platforms.Problem{What: "user namespaces are turned off for users", Fix: "sysctl kernel.unprivileged_userns_clone=1", Need: need})
	}
	if b, err := os.ReadFile("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"); err == nil && bytes.HasPrefix(b, []byte("1")) {
		problems = append(problems, platforms.Problem{What: "AppArmor restricts user namespaces", Fix: "sysctl kernel.apparmor_restrict_unprivileged_userns=0", Need: need})
	}
	if _, err := exec.LookPath("newuidmap"); err != nil {
		problems = append(problems, platforms.Problem{What: "newuidmap is not installed", Fix: "apt-get install uidmap", Need: need})
	} else if _, err := idMaps(); err != nil {
		problems = append(problems, platforms.Problem{What: err.Error(), Fix: advice(), Need: need})
	}
	return problems
}

// tryMachine mounts an overlay as a machine does.
func (d *driver) tryMachine() error {
	base, remove, err := d.host.TempDir("check")
	if err != nil {
		return err
	}
	dirs := []string{base + "/lower", base + "/upper", base + "/work", base + "/base"}
	for _, dir := range dirs {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	m := overlay.Mount{Lowers: dirs[:1], Upper: dirs[1], Work: dirs[2], UserXattr: d.userNS}
	if err := m.Use(dirs[3], func(dir string) error { return unix.Access(dir, unix.W_OK) }); err != nil {
		return err
	}
	return remove()
}
