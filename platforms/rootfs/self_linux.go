package rootfs

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// firstFD is above the descriptors that a child is started with, which are
// put in place before the file is executed that another one leads to.
const firstFD = 64

// openSelf opens this program for machines to start their init from. A command
// in a machine can reach the file of its init, by an interpreter line that
// names /proc/self/exe: so it must be one that nobody can write to, not even
// root, and not the file on the host's disk.
func openSelf() (*os.File, error) {
	f, err := readOnlySelf()
	if err != nil {
		f, err = copySelf() // before Linux 5.12
	}
	if err != nil {
		return nil, fmt.Errorf("open own program: %w", err)
	}
	return f, nil
}

// readOnlySelf opens the program through a read-only mount of its own.
func readOnlySelf() (*os.File, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(tree)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return nil, err
	}
	// The path may lead to a newer file by now.
	var mine, found unix.Stat_t
	if err := unix.Stat("/proc/self/exe", &mine); err != nil {
		return nil, err
	}
	if err := unix.Fstat(tree, &found); err != nil {
		return nil, err
	}
	if mine.Dev != found.Dev || mine.Ino != found.Ino {
		return nil, unix.ESTALE
	}
	return raise(tree, path)
}

// copySelf copies the program to memory and seals it.
func copySelf() (*os.File, error) {
	src, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	defer src.Close()
	fd, err := unix.MemfdCreate("bake", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, err
	}
	dst := os.NewFile(uintptr(fd), "bake")
	defer dst.Close()
	if _, err := io.Copy(dst, src); err != nil {
		return nil, err
	}
	seals := unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return nil, err
	}
	return raise(fd, "bake")
}

func raise(fd int, name string) (*os.File, error) {
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, firstFD)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(high), name), nil
}
