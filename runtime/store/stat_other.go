//go:build !linux

package store

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

const badStructure = syscall.EIO

// lstat knows here what Go knows of a file on every system: neither owners
// nor inodes, so that a changed file shows by its size and time only.
func lstat(path string) (stat, error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return stat{}, err
	}
	m := fi.Mode()
	st := stat{mode: uint32(m.Perm()), nlink: 1, mtime: Stamp{fi.ModTime().Unix(), uint32(fi.ModTime().Nanosecond())}}
	for bit, mode := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&bit != 0 {
			st.mode |= mode
		}
	}
	switch t := m.Type(); {
	case t == 0:
		st.typ, st.size, st.blocks = Regular, fi.Size(), fi.Size()
	case t == fs.ModeDir:
		st.typ = Dir
	case t == fs.ModeSymlink:
		st.typ = Symlink
	case t == fs.ModeNamedPipe:
		st.typ = Fifo
	case t == fs.ModeSocket:
		st.typ = Socket
	default:
		return stat{}, fmt.Errorf("%s: a layer cannot hold a %s on %s", path, t, runtime.GOOS)
	}
	return st, nil
}

func xattrs(string, []byte) ([]Xattr, error) { return nil, nil }

func nextData(_ *os.File, off, size int64) (data, hole int64, err error) { return off, size, nil }

func bootID() string { return "" }

func idMap() string { return "" }

// syncFS flushes the files below dir one by one: there is no call for a whole
// file system here.
func syncFS(dir string) error {
	return filepath.WalkDir(filepath.Join(dir, layersName), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if os.IsPermission(err) {
			f, err = os.Open(path)
		}
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Sync()
	})
}
