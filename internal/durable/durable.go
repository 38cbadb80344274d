// Package durable writes files that are whole and on the disk, or not there, whatever
// happens meanwhile: a crash of this process, or a loss of power.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile writes a file that only its owner can read. When it returns, the file is on
// the disk under its name; until then what was there before is. Two writers of one name
// leave the file of one of them.
func WriteFile(path string, data []byte) error {
	return write(path, data, func(*os.File) error { return nil })
}

// Publish is WriteFile of a file that everybody can read.
func Publish(path string, data []byte) error {
	return write(path, data, func(f *os.File) error { return f.Chmod(0o644) })
}

// Replace is WriteFile of a file that exists, or that a link at path leads to: it keeps
// its permissions and, where this process may give files away, its owner.
func Replace(path string, data []byte) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return write(path, data, func(f *os.File) error {
		if err := keepOwner(f, info); err != nil {
			return err
		}
		return f.Chmod(info.Mode())
	})
}

// write writes a file that prepare is given before it has its name.
func write(path string, data []byte, prepare func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.new")
	if err != nil {
		return err
	}
	if err = prepare(f); err == nil {
		_, err = f.Write(data)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return SyncDir(filepath.Dir(path))
}

// Remove removes a file for good: it does not come back after a loss of power. A file
// that is not there is no error.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := SyncDir(filepath.Dir(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
