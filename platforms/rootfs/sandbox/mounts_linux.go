package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

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
		dir := run + strings.TrimPrefix(memoryDir, "/run")
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		for name, data := range map[string][]byte{resolvPath: job.Resolv, hostsPath: job.Hosts} {
			if err := os.WriteFile(filepath.Join(dir, path.Base(name)), data, 0o644); err != nil {
				return err
			}
		}
		return nil
	})
}

// mountNames covers the image's /etc/resolv.conf and /etc/hosts with copies in
// memory of those that hold here. What a step writes to them is gone with it.
func mountNames(r *root, _ Job) error {
	for _, name := range []string{resolvPath, hostsPath} {
		if err := r.mountName(name); err != nil {
			return fmt.Errorf("mount %s: %w", name, err)
		}
	}
	return nil
}

func (r *root) mountName(name string) error {
	memory, err := r.open(memoryDir+"/"+path.Base(name), unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(memory)
	fd, err := r.open(name, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		return r.linkName(name)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var at, of unix.Stat_t
	if err := unix.Fstat(fd, &at); err != nil {
		return err
	}
	if err := unix.Fstat(memory, &of); err != nil {
		return err
	}
	if at.Dev == of.Dev && at.Ino == of.Ino || at.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil // a link of the skeleton, or nothing that a resolver reads
	}
	return unix.Mount(place(memory), place(fd), "", unix.MS_BIND, "")
}

// linkName serves an image whose file is a link to what only a running system
// has, such as systemd-resolved's /run/systemd/resolve/stub-resolv.conf.
func (r *root) linkName(name string) error {
	target, err := r.readlink(name)
	if err != nil {
		return nil // removed by a layer: so be it
	}
	if !path.IsAbs(target) {
		target = path.Join(path.Dir(name), target)
	}
	target = path.Clean(strings.Replace(path.Clean(target), "/var/run/", "/run/", 1))
	if !strings.HasPrefix(target, "/run/") {
		return nil
	}
	dir, err := r.mkdirAll(path.Dir(target))
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return unix.Symlinkat(memoryDir+"/"+path.Base(name), dir, path.Base(target))
}

func (r *root) readlink(name string) (string, error) {
	fd, err := r.open(name, unix.O_NOFOLLOW)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", b)
	return string(b[:max(n, 0)]), err
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
