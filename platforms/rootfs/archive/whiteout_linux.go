package archive

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// whiteout handles the entry base, which has the prefix of whiteouts, of dir.
func (u *unpacker) whiteout(dir, base string) error {
	if base == whiteoutOpaque {
		if u.Whiteouts == WhiteoutDelete {
			return u.deleteBelow(dir)
		}
		return u.opaque(dir)
	}
	target := strings.TrimPrefix(base, whiteoutPrefix)
	if target == "" || target == "." || target == ".." {
		return errors.New("whiteout of no name")
	}
	if strings.HasPrefix(base, whiteoutPrefix+whiteoutPrefix) {
		return nil // other metadata of AUFS, which means nothing here
	}
	if u.Whiteouts == WhiteoutDelete {
		if u.made[path.Join(dir, target)] {
			return nil // whiteouts speak of the layers below
		}
		fd, err := u.tree.existing(dir)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := u.touch(dir, fd); err != nil {
			return err
		}
		return u.tree.remove(fd, target)
	}
	fd, err := u.tree.parent(dir)
	if err != nil {
		return err
	}
	if err := unix.Mknodat(fd, target, unix.S_IFCHR, 0); err != nil && err != unix.EEXIST {
		return fmt.Errorf("make whiteout: %w", err)
	}
	return nil
}

func (u *unpacker) opaque(dir string) error {
	fd, err := u.tree.parent(dir)
	if err != nil {
		return err
	}
	if err := unix.Setxattr(procPath(fd, "."), u.opaqueXattr(), []byte("y"), 0); err != nil {
		return fmt.Errorf("make directory opaque: %w", err)
	}
	return nil
}

// deleteBelow deletes what this stream did not make in dir.
func (u *unpacker) deleteBelow(dir string) error {
	fd, err := u.tree.existing(dir)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := u.touch(dir, fd); err != nil {
		return err
	}
	names, err := readNames(fd)
	if err != nil {
		return err
	}
	for _, name := range names {
		full := path.Join(dir, name)
		if !u.made[full] {
			if fd, err = u.tree.existing(dir); err != nil {
				return err
			}
			if err := u.tree.remove(fd, name); err != nil {
				return err
			}
			continue
		}
		if fd, err = u.tree.existing(dir); err != nil {
			return err
		}
		if isDir, err := u.tree.isDir(fd, name, false); err != nil {
			return err
		} else if isDir {
			if err := u.deleteBelow(full); err != nil {
				return err
			}
		}
	}
	return nil
}

func readNames(fd int) ([]string, error) {
	d, err := os.Open(procPath(fd, "."))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}
