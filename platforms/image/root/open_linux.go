package root

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"bake.build/bake/internal/mountns"
	"bake.build/bake/internal/tool"
)

// errNoRoot says who may open a disk.
var errNoRoot = errors.New("reading the files of a disk means mounting it, which only root can")

// Check says why this process cannot open a disk, if so.
func Check() error {
	if os.Geteuid() != 0 {
		return errNoRoot
	}
	uids, err := os.ReadFile("/proc/self/uid_map")
	if f := strings.Fields(string(uids)); err == nil && (len(f) != 3 || f[2] != "4294967295") {
		return errNoRoot // of a user namespace only
	}
	if _, err := exec.LookPath("mount"); err != nil {
		return errors.New("mount is not installed: apt-get install mount")
	}
	return nil
}

// Open calls use with a directory that shows the files of a raw disk as its
// machine sees them: the largest file system that has /etc and /usr, and below it
// what its /etc/fstab and the types of the partitions add. It neither changes the
// disk nor plays back journals. The directory is read-only, and there only until
// use returns, only on the goroutine that runs use and for processes that this
// goroutine starts. scratch is an empty directory.
func Open(ctx context.Context, raw, scratch string, use func(dir string) error) error {
	if err := Check(); err != nil {
		return err
	}
	all, err := readVolumes(raw)
	if err != nil {
		return err
	}
	o := opener{ctx: ctx, raw: raw, scratch: scratch, dir: filepath.Join(scratch, "mnt")}
	if err := os.Mkdir(o.dir, 0o700); err != nil {
		return err
	}
	return mountns.Run(func() error {
		root, err := o.root(all)
		if err != nil {
			return err
		}
		if err := o.mountAll(all, root); err != nil {
			return err
		}
		return use(o.dir)
	})
}

// An opener opens one disk, in a mount namespace of its own.
type opener struct {
	ctx          context.Context
	raw, scratch string
	dir          string // where the root is mounted
}

// subvolumes are where distributions have the root of a btrfs whose default
// subvolume is not it.
var subvolumes = []string{"", "root", "@", "@rootfs"}

// root mounts the root file system.
func (o *opener) root(all []volume) (volume, error) {
	list, err := candidates(all)
	if err != nil {
		return volume{}, err
	}
	var tried []string
	for _, v := range list {
		why := "has no /etc and /usr"
		for _, sub := range subvolumes {
			failed, err := o.mount(mount{volume: v, subvol: sub}, o.dir)
			if err != nil {
				return v, err
			}
			if failed == "" && isDir(o.dir+"/etc") && isDir(o.dir+"/usr") {
				return v, nil
			}
			if failed == "" {
				if err := unix.Unmount(o.dir, 0); err != nil {
					return v, fmt.Errorf("unmount: %w", err)
				}
			} else if sub == "" {
				why = failed
			}
			if v.fs != "btrfs" {
				break
			}
		}
		tried = append(tried, fmt.Sprintf("%s at %d: %s", v.fs, v.start, why))
	}
	return volume{}, fmt.Errorf("no root file system: %s", strings.Join(tried, "; "))
}

func isDir(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

// mountAll mounts what the machine has below its root.
func (o *opener) mountAll(all []volume, root volume) error {
	table, err := o.fstab()
	if err != nil {
		return err
	}
	list, err := mounts(all, root, table)
	if err != nil {
		return err
	}
	var discovered []int64 // where the volumes begin that are mounted for their types
	for i, m := range list {
		if m.auto && slices.Contains(discovered, m.start) {
			continue
		}
		target, err := o.target(m)
		if err != nil {
			return fmt.Errorf("mount point of %s: %w", m.volume, err)
		}
		if target == "" {
			continue
		}
		discovered = append(discovered, m.start)
		why := ""
		switch {
		case !m.readable():
			why = "bake does not open it"
		case m.fs == "vfat":
			err = o.mountFAT(m, i, target)
		default:
			why, err = o.mount(m, target)
		}
		if err == nil && why != "" {
			err = errors.New(why)
		}
		if err != nil {
			return fmt.Errorf("read %s, which is %s of its machine: %w", m.volume, m.dir, err)
		}
	}
	return nil
}

// inRoot opens a path as the machine would: links lead nowhere out of the root.
func (o *opener) inRoot(path string, flags uint64) (*os.File, error) {
	dir, err := os.Open(o.dir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(int(dir.Fd()), path, &how)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// fstab returns the machine's table of file systems, or "" where there is none.
func (o *opener) fstab() (text string, err error) {
	f, err := o.inRoot("/etc/fstab", unix.O_RDONLY|unix.O_NONBLOCK)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	return string(b), err
}

// target returns the host's path of the directory where m is mounted, or "" where
// that is not done.
func (o *opener) target(m mount) (path string, err error) {
	f, err := o.inRoot(m.dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if m.auto && (errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR)) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if m.auto {
		if _, err := f.Readdirnames(1); !errors.Is(err, io.EOF) {
			return "", err
		}
	}
	return os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
}

// mount mounts a file system at dir, or says why that cannot be done.
func (o *opener) mount(m mount, dir string) (why string, err error) {
	options := fmt.Sprintf("ro,nodev,nosuid,noexec,loop,offset=%d,sizelimit=%d", m.start, m.size)
	switch {
	case m.fs == "ext4":
		options += ",noload" // a journal left by a crash is not played back
	case m.fs == "xfs":
		options += ",norecovery,nouuid"
	case m.fs == "btrfs" && m.subvol != "":
		options += ",subvol=" + m.subvol
	}
	cmd := exec.CommandContext(o.ctx, "mount", "-n", "-t", m.fs, "-o", options, "--", o.raw, dir)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := tool.Run(cmd); err == nil {
		return "", nil
	} else if o.ctx.Err() != nil {
		return "", context.Cause(o.ctx)
	} else if line, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n"); line != "" {
		return line, nil
	} else {
		return err.Error(), nil
	}
}

// mountFAT shows the files of a FAT file system, copied: the kernels of many hosts
// have no driver for it.
func (o *opener) mountFAT(m mount, number int, dir string) (err error) {
	f, err := os.Open(o.raw)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	files := filepath.Join(o.scratch, fmt.Sprintf("fat%d", number))
	if err := extractFAT(io.NewSectionReader(f, m.start, m.size), files, m.umask); err != nil {
		return err
	}
	if err := unix.Mount(files, dir, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind mount: %w", err)
	}
	const readOnly = unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC
	if err := unix.Mount("", dir, "", readOnly, ""); err != nil {
		return fmt.Errorf("bind mount: %w", err)
	}
	return nil
}
