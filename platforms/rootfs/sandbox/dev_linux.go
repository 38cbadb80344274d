package sandbox

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

type device struct {
	name         string
	major, minor uint32
}

var devices = [...]device{
	{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
}

var deviceLinks = [...][2]string{
	{"ptmx", "pts/ptmx"}, {"fd", "/proc/self/fd"},
	{"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"},
}

// mountDev makes a /dev of its own with nothing that leads to hardware.
func mountDev(r *root, job Job) error {
	err := r.on("/dev", func(at string) error {
		return unix.Mount("bake", at, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0755,size=64k")
	})
	if err != nil {
		return fmt.Errorf("mount /dev: %w", err)
	}
	fd, err := r.open("/dev", unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("open /dev: %w", err)
	}
	defer unix.Close(fd)
	dev := place(fd)
	for _, d := range devices {
		if err := d.make(filepath.Join(dev, d.name), job.UserNS); err != nil {
			return fmt.Errorf("make /dev/%s: %w", d.name, err)
		}
	}
	for _, l := range deviceLinks {
		if err := os.Symlink(l[1], filepath.Join(dev, l[0])); err != nil {
			return err
		}
	}
	for _, name := range []string{"pts", "shm"} {
		if err := os.Mkdir(filepath.Join(dev, name), 0o755); err != nil {
			return err
		}
	}
	if err := mountPts(filepath.Join(dev, "pts")); err != nil {
		return fmt.Errorf("mount /dev/pts: %w", err)
	}
	if err := unix.Mount("bake", filepath.Join(dev, "shm"), "tmpfs", noExec, "mode=1777"); err != nil {
		return fmt.Errorf("mount /dev/shm: %w", err)
	}
	return nil
}

func (d device) make(at string, userNS bool) error {
	if !userNS {
		if err := unix.Mknod(at, unix.S_IFCHR|0o666, int(unix.Mkdev(d.major, d.minor))); err != nil {
			return err
		}
		return os.Chmod(at, 0o666)
	}
	if err := os.WriteFile(at, nil, 0o666); err != nil {
		return err
	}
	return unix.Mount("/dev/"+d.name, at, "", unix.MS_BIND, "")
}

func mountPts(at string) error {
	const options = "newinstance,ptmxmode=0666,mode=0620"
	const flags = unix.MS_NOSUID | unix.MS_NOEXEC
	// Group 5 is tty everywhere; a small user namespace may not have it.
	err := unix.Mount("devpts", at, "devpts", flags, options+",gid=5")
	if err == unix.EINVAL {
		err = unix.Mount("devpts", at, "devpts", flags, options)
	}
	return err
}
