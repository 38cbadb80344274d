package overlay

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Settle makes the upper directory one that any mount can read: each name of a
// file that was changed under another of its names, and all that is in a
// directory which was renamed, is put where it is seen. Work is emptied. base
// is a directory to mount over, as for Use.
//
// It costs a walk over the directories of the upper one; the rest only where
// there is something to settle.
func (m Mount) Settle(base string) error {
	if m.UserXattr {
		return nil
	}
	files, err := m.indexed()
	if err != nil {
		return fmt.Errorf("settle layer: %w", err)
	}
	moved, err := m.redirected()
	if err != nil {
		return fmt.Errorf("settle layer: %w", err)
	}
	if len(files) > 0 || len(moved) > 0 {
		m.Cover = ""
		err := m.Use(base, func(root string) error {
			for _, dir := range moved {
				if err := m.bringUp(root, dir); err != nil {
					return err
				}
			}
			return m.bringUpNames(root, files)
		})
		if err != nil {
			return fmt.Errorf("settle layer: %w", err)
		}
	}
	for _, dir := range moved {
		if err := m.cutLoose(dir); err != nil {
			return fmt.Errorf("settle layer: %w", err)
		}
	}
	// The index holds one more name of every file that it lists.
	if err := os.RemoveAll(m.Work); err != nil {
		return fmt.Errorf("settle layer: %w", err)
	}
	return os.Mkdir(m.Work, 0o700)
}

// indexed returns what overlayfs calls the files with several names in lower
// layers that were changed: it ends with the file's handle in hexadecimal.
func (m Mount) indexed() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(m.Work, "index"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "#") { // a file in the making, or the one that whiteouts are links to
			names = append(names, e.Name())
		}
	}
	return names, err
}

// redirected returns the directories, relative to the root, that were renamed
// from where a lower layer has them, and still show what is in it.
func (m Mount) redirected() ([]string, error) {
	var dirs []string
	buf := make([]byte, unix.PathMax)
	err := filepath.WalkDir(m.Upper, func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		_, err = unix.Lgetxattr(p, m.mark("redirect"), buf)
		switch err {
		case nil:
			rel, err := filepath.Rel(m.Upper, p)
			dirs = append(dirs, rel)
			return err
		case unix.ENODATA, unix.ENOTSUP:
			return nil
		}
		return &os.PathError{Op: "read attribute", Path: p, Err: err}
	})
	return dirs, err
}

// bringUp copies all of a directory up that is not there yet.
func (m Mount) bringUp(root, dir string) error {
	return filepath.WalkDir(filepath.Join(root, dir), func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		return m.bringUpName(root, rel)
	})
}

// bringUpName has overlayfs copy a file up, or give it a name more if it was
// copied up under another, by setting its access time to what it is.
func (m Mount) bringUpName(root, rel string) error {
	var st unix.Stat_t
	err := unix.Lstat(filepath.Join(m.Upper, rel), &st)
	if err != unix.ENOENT {
		return err
	}
	p := filepath.Join(root, rel)
	if err := unix.Lstat(p, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: p, Err: err}
	}
	times := []unix.Timespec{st.Atim, {Nsec: unix.UTIME_OMIT}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, p, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "copy up", Path: p, Err: err}
	}
	return nil
}

// bringUpNames gives files all of the names that they have in lower layers and
// that can still be seen.
func (m Mount) bringUpNames(root string, files []string) error {
	if len(files) == 0 {
		return nil
	}
	for _, layer := range slices.Backward(m.Lowers) {
		err := filepath.WalkDir(layer, func(p string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			var below, seen unix.Stat_t
			if err := unix.Lstat(p, &below); err != nil || below.Nlink < 2 {
				return err
			}
			handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, p, 0)
			if err != nil {
				return &os.PathError{Op: "name to handle", Path: p, Err: err}
			}
			id := hex.EncodeToString(handle.Bytes())
			if !slices.ContainsFunc(files, func(name string) bool { return strings.HasSuffix(name, id) }) {
				return nil
			}
			rel, err := filepath.Rel(layer, p)
			if err != nil {
				return err
			}
			// A file keeps its number when it is copied up; another one may have
			// taken its place.
			err = unix.Lstat(filepath.Join(root, rel), &seen)
			if err == unix.ENOENT || err == unix.ENOTDIR || err == nil && seen.Ino != below.Ino {
				return nil
			} else if err != nil {
				return &os.PathError{Op: "lstat", Path: rel, Err: err}
			}
			return m.bringUpName(root, rel)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// cutLoose makes a directory opaque that is whole, and drops the marks in it of
// what was removed, which hide nothing any more.
func (m Mount) cutLoose(dir string) error {
	top := filepath.Join(m.Upper, dir)
	if err := unix.Lsetxattr(top, m.mark("opaque"), []byte("y"), 0); err != nil {
		return &os.PathError{Op: "set attribute", Path: top, Err: err}
	}
	if err := removeXattr(top, m.mark("redirect")); err != nil {
		return err
	}
	return filepath.WalkDir(top, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.Type() != fs.ModeDevice|fs.ModeCharDevice {
			return err
		}
		var st, up unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil || st.Rdev != 0 {
			return err
		}
		if err := unix.Lstat(filepath.Dir(p), &up); err != nil {
			return err
		}
		if err := os.Remove(p); err != nil {
			return err
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Dir(p), []unix.Timespec{up.Atim, up.Mtim}, 0)
	})
}
