package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// badStructure is what a file system says of its own structures when they
// contradict each other.
const badStructure = unix.EUCLEAN

func lstat(path string) (stat, error) {
	var s unix.Stat_t
	if err := unix.Lstat(path, &s); err != nil {
		return stat{}, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	st := stat{
		mode:   s.Mode & 0o7777,
		uid:    s.Uid,
		gid:    s.Gid,
		mtime:  Stamp{int64(s.Mtim.Sec), uint32(s.Mtim.Nsec)},
		ctime:  Stamp{int64(s.Ctim.Sec), uint32(s.Ctim.Nsec)},
		dev:    uint64(s.Dev),
		ino:    s.Ino,
		nlink:  uint64(s.Nlink),
		blocks: s.Blocks * 512,
	}
	switch s.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		st.typ, st.size = Regular, s.Size
	case unix.S_IFDIR:
		st.typ = Dir
	case unix.S_IFLNK:
		st.typ = Symlink
	case unix.S_IFCHR:
		st.typ = Char
	case unix.S_IFBLK:
		st.typ = Block
	case unix.S_IFIFO:
		st.typ = Fifo
	case unix.S_IFSOCK:
		st.typ = Socket
	default:
		return stat{}, fmt.Errorf("%s: unknown file type %#o", path, s.Mode)
	}
	if st.typ == Char || st.typ == Block {
		st.major, st.minor = unix.Major(uint64(s.Rdev)), unix.Minor(uint64(s.Rdev))
	}
	return st, nil
}

// covered reports whether a manifest lists the attribute.
func covered(name string) bool {
	if name == "security.capability" || strings.HasPrefix(name, "system.posix_acl_") {
		return true
	}
	overlay, ok := strings.CutPrefix(name, "trusted.overlay.")
	if !ok {
		overlay, ok = strings.CutPrefix(name, "user.overlay.")
	}
	if !ok {
		return strings.HasPrefix(name, "user.")
	}
	// Notes of overlayfs to itself, with inode numbers of this host in them.
	switch overlay {
	case "origin", "impure", "nlink", "upper", "uuid":
		return false
	}
	return true
}

// xattrs returns the attributes of the file itself that a manifest lists.
func xattrs(path string, buf []byte) ([]Xattr, error) {
	n, err := listXattrs(path, &buf)
	if err != nil || n == 0 {
		return nil, err
	}
	var list []Xattr
	for _, name := range strings.Split(string(bytes.TrimSuffix(buf[:n], []byte{0})), "\x00") {
		if !covered(name) {
			continue
		}
		v, err := getXattr(path, name)
		if errors.Is(err, unix.ENODATA) {
			continue
		} else if err != nil {
			return nil, &os.PathError{Op: "read attribute " + name, Path: path, Err: err}
		}
		list = append(list, Xattr{name, v})
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list, nil
}

func listXattrs(path string, buf *[]byte) (int, error) {
	n, err := unix.Llistxattr(path, *buf)
	if errors.Is(err, unix.ERANGE) {
		*buf = make([]byte, 64<<10) // the kernel's limit
		n, err = unix.Llistxattr(path, *buf)
	}
	if errors.Is(err, unix.ENOTSUP) {
		return 0, nil
	} else if err != nil {
		return 0, &os.PathError{Op: "list attributes", Path: path, Err: err}
	}
	return n, nil
}

func getXattr(path, name string) ([]byte, error) {
	buf := make([]byte, 256)
	n, err := unix.Lgetxattr(path, name, buf)
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, 64<<10) // the kernel's limit
		n, err = unix.Lgetxattr(path, name, buf)
	}
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}

// nextData returns where the next data of the file begins at or after off and
// where the hole after it begins. At the end of the file both are size.
func nextData(f *os.File, off, size int64) (data, hole int64, err error) {
	data, err = unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size, size, nil
	case errors.Is(err, unix.EINVAL):
		return off, size, nil // the file system knows no holes
	case err != nil:
		return 0, 0, err
	}
	hole, err = unix.Seek(int(f.Fd()), data, unix.SEEK_HOLE)
	return data, hole, err
}

// bootID identifies this boot of the machine.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// idMap identifies how the user namespace of this process maps the ids of
// users and groups.
func idMap() string {
	var parts []string
	for _, name := range []string{"/proc/self/uid_map", "/proc/self/gid_map"} {
		b, err := os.ReadFile(name)
		if err != nil {
			return ""
		}
		parts = append(parts, strings.Join(strings.Fields(string(b)), " "))
	}
	return strings.Join(parts, ";")
}

// syncFS writes all that the file system of dir holds in memory to the disk.
func syncFS(dir string) (err error) {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return &os.PathError{Op: "syncfs", Path: dir, Err: err}
	}
	return nil
}
