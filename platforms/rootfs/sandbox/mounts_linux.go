package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const noExec = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

const maskName = "mask"

// mountMask makes what hidden places are covered with: an empty directory and
// an empty file that nobody can write to or change the mode of.
func mountMask(r *root, job Job) error {
	at := filepath.Join(job.Base, maskName)
	if err := os.Mkdir(at, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("bake", at, "tmpfs", noExec, "mode=0755"); err != nil {
		return fmt.Errorf("mount mask: %w", err)
	}
	if err := os.Mkdir(filepath.Join(at, "dir"), 0o555); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(at, "file"), nil, 0o444); err != nil {
		return err
	}
	if err := unix.Mount("", at, "", unix.MS_REMOUNT|unix.MS_RDONLY|noExec, ""); err != nil {
		return fmt.Errorf("mount mask: %w", err)
	}
	r.mask = at
	return nil
}

// hiddenSys is what a read-only /sys still tells of the host.
var hiddenSys = [...]string{"/sys/firmware", "/sys/kernel", "/sys/fs", "/sys/module", "/sys/power", "/sys/hypervisor", "/sys/devices/virtual/powercap", "/sys/block", "/sys/bus", "/sys/dev"}

func mountSys(r *root, job Job) error {
	err := r.on("/sys", func(at string) error {
		// A user namespace may mount sysfs only together with its own network.
		if err := unix.Mount("sysfs", at, "sysfs", noExec|unix.MS_RDONLY, ""); err == nil || !job.UserNS {
			return err
		}
		if err := unix.Mount("/sys", at, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return err
		}
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC}
		fd, err := r.open("/sys", unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr)
	})
	if err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	for _, name := range hiddenSys {
		if err := r.cover(name, r.hide); err != nil {
			return err
		}
	}
	return nil
}

// cover calls do on name if it exists.
func (r *root) cover(name string, do func(at string, isDir bool) error) error {
	fd, err := r.open(name, unix.O_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cover %s: %w", name, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("cover %s: %w", name, err)
	}
	if err := do(place(fd), st.Mode&unix.S_IFMT == unix.S_IFDIR); err != nil {
		return fmt.Errorf("cover %s: %w", name, err)
	}
	return nil
}

// hide covers a place with nothing.
func (r *root) hide(at string, isDir bool) error {
	what := "file"
	if isDir {
		what = "dir"
	}
	return unix.Mount(filepath.Join(r.mask, what), at, "", unix.MS_BIND, "")
}

func mountRun(r *root, job Job) error {
	return r.on("/run", func(at string) error {
		if err := unix.Mount("bake", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
			return fmt.Errorf("mount /run: %w", err)
		}
		fd, err := r.open("/run", unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		run := place(fd)
		if err := os.Mkdir(run+"/lock", 0o777); err != nil {
			return err
		}
		if err := os.Chmod(run+"/lock", 0o777|os.ModeSticky); err != nil {
			return err
		}
		return nil
	})
}

func mountCaches(r *root, job Job) error {
	for _, c := range job.Caches {
		fd, err := r.mkdirAll(path.Clean("/" + c.Dir))
		if err != nil {
			return fmt.Errorf("mount cache on %s: %w", c.Dir, err)
		}
		err = unix.Mount(c.Source, place(fd), "", unix.MS_BIND, "")
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("mount cache on %s: %w", c.Dir, err)
		}
	}
	return nil
}
