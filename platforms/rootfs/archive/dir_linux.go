package archive

import (
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// MkdirAll makes the directory name with its parents in the tree at root and
// opens it. All links are followed as if root were the root directory. What
// is made has mode 0755 and platforms.FileTime; the directory above it keeps its
// times.
func MkdirAll(root, name string) (*os.File, error) {
	return inRoot(root, name, (*tree).parent)
}

// OpenDir opens the directory name in the tree at root. All links are followed
// as if root were the root directory. The descriptor only names a place.
func OpenDir(root, name string) (*os.File, error) {
	return inRoot(root, name, (*tree).existing)
}

func inRoot(root, name string, find func(*tree, string) (int, error)) (*os.File, error) {
	t, err := openTree(root, LinksInRoot)
	if err != nil {
		return nil, err
	}
	defer t.close()
	rel := strings.TrimLeft(path.Clean("/"+name), "/")
	if rel == "" {
		rel = "."
	}
	u := &unpacker{tree: t, touched: map[string]bool{}, known: map[inode]bool{}}
	t.changing, t.madeDir = u.touch, u.implied
	fd, err := find(t, rel)
	if err == nil {
		if err = u.finish(); err == nil {
			fd, err = t.existing(rel)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open directory %s: %w", name, err)
	}
	fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}
