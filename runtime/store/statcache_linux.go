package store

import (
	"io/fs"
	"syscall"
)

// statOf returns what identifies a state of a regular file.
func statOf(info fs.FileInfo) (statEntry, bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return statEntry{}, false
	}
	return statEntry{
		dev: uint64(s.Dev), ino: s.Ino, size: s.Size,
		mtime: Stamp{int64(s.Mtim.Sec), uint32(s.Mtim.Nsec)},
		ctime: Stamp{int64(s.Ctim.Sec), uint32(s.Ctim.Nsec)},
	}, true
}
