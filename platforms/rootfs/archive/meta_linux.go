package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"math"
	"os"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"bake.build/bake/internal/paxattr"
	"bake.build/bake/platforms"
)

// meta sets owner, mode, extended attributes and times, in the order in which
// none undoes another: chown clears setuid and capabilities.
func (u *unpacker) meta(dir int, base string, h *tar.Header) error {
	if err := u.ownerAndMode(dir, base, h); err != nil {
		return err
	}
	attrs, err := u.attrs(dir, base, h)
	if err == nil {
		err = setAttrs(procPath(dir, base), attrs)
	}
	if err != nil {
		return err
	}
	return setTimes(dir, base, times(h))
}

// isID reports whether n is the number of a user or a group. The highest of 32
// bits means "leave it as it is" to the kernel, and of a larger number it would take
// the lowest bits: both could be those of root.
func isID(n int) bool { return n >= 0 && int64(n) < math.MaxUint32 }

func (u *unpacker) ownerAndMode(dir int, base string, h *tar.Header) error {
	if !u.NoOwners {
		if !isID(h.Uid) || !isID(h.Gid) {
			return fmt.Errorf("change owner to %d:%d: no such number: they end at %d", h.Uid, h.Gid, uint32(math.MaxUint32-1))
		}
		if err := unix.Fchownat(dir, base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("change owner to %d:%d: %w", h.Uid, h.Gid, err)
		}
	}
	if h.Typeflag != tar.TypeSymlink {
		if err := unix.Fchmodat(dir, base, uint32(h.Mode)&0o7777, 0); err != nil {
			return fmt.Errorf("change mode: %w", err)
		}
	}
	return nil
}

// attrs returns the attributes that the entry gets. Those that name users whom
// the tree does not have yet are put off.
func (u *unpacker) attrs(dir int, base string, h *tar.Header) ([]paxattr.Attr, error) {
	if len(h.PAXRecords) == 0 {
		return nil, nil
	}
	all, others, err := paxattr.Attrs(h.PAXRecords, u.tree.id)
	if errors.Is(err, errUnknownName) {
		name, nameErr := u.cleanName(h.Name)
		u.pending = append(u.pending, pending{name, h})
		return nil, nameErr
	}
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(a paxattr.Attr) bool {
		wanted := u.wantsXattr(a.Name)
		if !wanted {
			others = append(others, a.Name)
		}
		return !wanted
	})
	if u.Dropped != nil {
		for _, name := range others {
			u.Dropped(name)
		}
	}
	return all, nil
}

func setAttrs(file string, attrs []paxattr.Attr) error {
	for _, a := range attrs {
		err := unix.Lsetxattr(file, a.Name, a.Value, 0)
		if err == unix.ENOSPC || err == unix.E2BIG {
			return fmt.Errorf("set attribute %s of %d bytes: %w: the file system of the cache directory has no place for so many attributes of one file, ext4 4 KiB", a.Name, len(a.Value), err)
		}
		if err != nil {
			return fmt.Errorf("set attribute %s: %w", a.Name, err)
		}
	}
	return nil
}

// A directory is what a directory gets last: making its entries changes its
// times, and they would inherit its default ACL.
type directory struct {
	name  string // cleaned
	times []unix.Timespec
	acl   []byte // the default ACL; nil leaves what is there
}

// pending are the attributes of an entry that named an unknown user.
type pending struct {
	name string
	h    *tar.Header
}

// dirMeta is meta of a directory, which existed before or is new.
func (u *unpacker) dirMeta(dir int, name string, h *tar.Header, existed bool) error {
	base := path.Base(name)
	if err := u.ownerAndMode(dir, base, h); err != nil {
		return err
	}
	attrs, err := u.attrs(dir, base, h)
	if err != nil {
		return err
	}
	d := directory{name: name, times: times(h)}
	file := procPath(dir, base)
	if u.Whole {
		if existed {
			if err := clearAttrs(file, u.wantsXattr); err != nil {
				return err
			}
		}
		attrs = slices.DeleteFunc(attrs, func(a paxattr.Attr) bool {
			if a.Name == paxattr.DefaultACL {
				d.acl = a.Value
			}
			return a.Name == paxattr.DefaultACL
		})
	}
	if _, err := u.isKnown(name, dir, base); err != nil {
		return err
	}
	u.dirs = append(u.dirs, d)
	if err := setAttrs(file, attrs); err != nil {
		return err
	}
	return setTimes(dir, base, d.times)
}

// clearAttrs removes attributes.
func clearAttrs(file string, which func(name string) bool) error {
	names, err := listXattrs(file)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !which(name) {
			continue
		}
		if err := unix.Lremovexattr(file, name); err != nil && err != unix.ENODATA {
			return fmt.Errorf("remove attribute %s: %w", name, err)
		}
	}
	return nil
}

// touch is called before an entry of a directory that is there is made or
// removed, with a descriptor of the directory. The directory gets back the times
// that it has now: when something was built is no part of what was built.
func (u *unpacker) touch(name string, fd int) error {
	if u.touched[name] {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstatat(fd, ".", &st, 0); err != nil {
		return fmt.Errorf("stat directory %q: %w", name, err)
	}
	if is, err := u.isKnown(name, fd, "."); is || err != nil {
		return err
	}
	d := directory{name: name, times: []unix.Timespec{st.Atim, st.Mtim}}
	if u.Whole {
		file := procPath(fd, ".")
		acl, err := getXattr(file, paxattr.DefaultACL)
		if err == nil && acl != "" {
			d.acl = []byte(acl)
			err = unix.Lremovexattr(file, paxattr.DefaultACL)
		}
		if err != nil && err != unix.ENODATA && err != unix.ENOTSUP {
			return fmt.Errorf("default access control list of %q: %w", name, err)
		}
	}
	u.dirs = append(u.dirs, d)
	return nil
}

// implied is told of directories that no entry of the stream has made.
func (u *unpacker) implied(name string, fd int) error {
	_, err := u.isKnown(name, fd, ".")
	u.dirs = append(u.dirs, directory{name: name, times: fileTimes()})
	return err
}

// isKnown reports whether a directory is in dirs, be it under another name, and
// takes it for one that is.
func (u *unpacker) isKnown(name string, dir int, base string) (bool, error) {
	u.touched[name] = true
	var st unix.Stat_t
	if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, fmt.Errorf("stat directory %q: %w", name, err)
	}
	id := inode{uint64(st.Dev), st.Ino}
	is := u.known[id]
	u.known[id] = true
	return is, nil
}

// fileTimes are those of what has none of its own.
func fileTimes() []unix.Timespec {
	t := timespec(platforms.FileTime)
	return []unix.Timespec{t, t}
}

func times(h *tar.Header) []unix.Timespec {
	access := h.AccessTime
	if access.IsZero() {
		access = h.ModTime
	}
	return []unix.Timespec{timespec(access), timespec(h.ModTime)}
}

func setTimes(dir int, base string, ts []unix.Timespec) error {
	if err := unix.UtimesNanoAt(dir, base, ts, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set times: %w", err)
	}
	return nil
}

func timespec(t time.Time) unix.Timespec {
	if t.IsZero() {
		t = time.Unix(0, 0)
	}
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

// finish sets what was put off: attributes with names of users, and what
// directories get last, innermost first.
func (u *unpacker) finish() error {
	for _, p := range u.pending {
		if err := u.finishPending(p); err != nil {
			return fmt.Errorf("unpack %q: %w", p.name, err)
		}
	}
	done := map[inode]bool{}
	for _, d := range slices.Backward(u.dirs) {
		if err := u.finishDir(d, done); err != nil {
			return fmt.Errorf("unpack %q: %w", d.name, err)
		}
	}
	return nil
}

func (u *unpacker) finishPending(p pending) error {
	if _, _, err := paxattr.Attrs(p.h.PAXRecords, u.tree.id); err != nil {
		return err
	}
	dir, err := u.tree.existing(path.Dir(p.name))
	if err != nil {
		return nil // a later entry replaced it
	}
	attrs, err := u.attrs(dir, path.Base(p.name), p.h)
	if err == nil {
		err = setAttrs(procPath(dir, path.Base(p.name)), attrs)
	}
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// finishDir follows links inside of the tree, since a directory may be known by
// what leads to it.
func (u *unpacker) finishDir(d directory, done map[inode]bool) error {
	fd, err := u.tree.existing(d.name)
	if err != nil {
		return nil // a later entry replaced it
	}
	var st unix.Stat_t
	if err := unix.Fstatat(fd, ".", &st, 0); err != nil {
		return err
	}
	id := inode{uint64(st.Dev), st.Ino}
	if done[id] {
		return nil
	}
	done[id] = true
	if d.acl != nil {
		if err := setAttrs(procPath(fd, "."), []paxattr.Attr{{Name: paxattr.DefaultACL, Value: d.acl}}); err != nil {
			return err
		}
	}
	return setTimes(fd, ".", d.times)
}

// NewDir makes a directory that has nothing of where it is made: not the umask,
// nor the group or the default ACL of the directory above it, nor the time.
func NewDir(name string, mode uint32) error {
	if err := os.Mkdir(name, 0o700); err != nil {
		return err
	}
	err := clearAttrs(name, func(attr string) bool { return attr == paxattr.AccessACL || attr == paxattr.DefaultACL })
	if err == nil {
		err = os.Lchown(name, os.Geteuid(), os.Getegid())
	}
	if err == nil {
		err = unix.Chmod(name, mode)
	}
	if err == nil {
		err = unix.UtimesNanoAt(unix.AT_FDCWD, name, fileTimes(), 0)
	}
	if err != nil {
		return &os.PathError{Op: "make directory", Path: name, Err: err}
	}
	return nil
}

// CopyACLs gives the directory to the access control lists of the directory from.
func CopyACLs(from, to string) error {
	for _, name := range []string{paxattr.AccessACL, paxattr.DefaultACL} {
		v, err := getXattr(from, name)
		if err == unix.ENODATA || err == unix.ENOTSUP || err == nil && v == "" {
			continue
		}
		if err == nil {
			err = setAttrs(to, []paxattr.Attr{{Name: name, Value: []byte(v)}})
		}
		if err != nil {
			return fmt.Errorf("copy access control list of %s: %w", from, err)
		}
	}
	return nil
}
