package sandbox

import (
	"fmt"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"bake.build/bake/internal/mountns"
)

// Hostname is the name of every machine while its steps run.
const Hostname = "bake"

// enter mounts the machine's tree with all that belongs around it and makes it
// the root directory.
func enter(job Job) error {
	if err := mountns.Private(); err != nil {
		return err
	}
	// After bake has moved this process into its group, so that the group is
	// the root of what the command sees. Old kernels and some containers have none.
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil && err != unix.EINVAL && err != unix.EPERM {
		return fmt.Errorf("make cgroup namespace: %w", err)
	}
	dir, err := job.Layers.At(job.Base, func(dir string) error { return skeleton(dir, job) })
	if err != nil {
		return err
	}
	r, err := openRoot(dir)
	if err != nil {
		return err
	}
	defer r.close()
	for _, mount := range []func(*root, Job) error{mountMask, mountProc, mountSys, mountDev, mountRun, mountCaches} {
		if err := mount(r, job); err != nil {
			return err
		}
	}
	if err := pivot(dir); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(Hostname)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if !job.Network {
		return loopback()
	}
	return nil
}

// loopback brings up the one interface of a new network namespace.
func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring up loopback: %w", err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("bring up loopback: %w", err)
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("bring up loopback: %w", err)
	}
	return nil
}

// skeleton makes what lies below the oldest layer: places to mount on, so that
// an image that lacks them is not given them as part of a layer.
func skeleton(dir string, job Job) error {
	dirs := []string{"dev", "proc", "sys", "run"}
	for _, c := range job.Caches {
		dirs = append(dirs, path.Clean("/"+c.Dir))
	}
	for _, d := range dirs {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// pivot makes dir the root directory and lets go of the host's.
func pivot(dir string) error {
	if err := unix.Chdir(dir); err != nil {
		return fmt.Errorf("enter tree: %w", err)
	}
	// The old root lands on top of the new one, from where it is unmounted.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount host: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("enter root: %w", err)
	}
	return nil
}
