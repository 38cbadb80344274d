package archive

import (
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ChangeTime returns when the file was last changed by the clock that its file
// system stamps files with, which may lie some milliseconds behind the processor's.
func ChangeTime(name string) (time.Time, error) {
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		return time.Time{}, &os.PathError{Op: "lstat", Path: name, Err: err}
	}
	return time.Unix(st.Ctim.Unix()), nil
}

// ClampTimes sets the modification time of each file in the tree at dir, dir
// itself included, to the given one if it is since or later, up to now: such a time
// says when something was built, and is no part of what was built. A time before or
// after that was set on purpose, and stays. since counts from the beginning of its
// second, since programs such as apt set times in whole seconds. newest is the latest
// time in the tree afterwards.
func ClampTimes(dir string, since, to time.Time) (newest time.Time, err error) {
	since = since.Truncate(time.Second)
	now := time.Now()
	err = filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err != nil {
			return &os.PathError{Op: "lstat", Path: name, Err: err}
		}
		modified := time.Unix(st.Mtim.Unix())
		if !modified.Before(since) && !modified.After(now) {
			times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, timespec(to)}
			if err := unix.UtimesNanoAt(unix.AT_FDCWD, name, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return &os.PathError{Op: "set times", Path: name, Err: err}
			}
			modified = to
		}
		if modified.After(newest) {
			newest = modified
		}
		return nil
	})
	return newest, err
}
