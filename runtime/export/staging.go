package export

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/gofrs/flock"
)

// stagingPrefix begins the names of staging directories. A lock file of the
// same name with lockSuffix lies beside each for as long as it is there: it is
// made first and removed last, and the process that fills the directory holds
// its lock.
const (
	stagingPrefix = ".bake-export-"
	lockSuffix    = ".lock"
)

// A staging is a directory for files that are not whole yet, on the file
// system of the artifact.
type staging struct {
	dir  string
	lock *flock.Flock
}

// newStaging makes a staging directory in parent, which is made when missing.
func newStaging(parent string) (*staging, error) {
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, err
	}
	for {
		f, err := os.CreateTemp(parent, stagingPrefix+"*"+lockSuffix)
		if err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
		s := &staging{dir: strings.TrimSuffix(f.Name(), lockSuffix), lock: flock.New(f.Name())}
		got, err := s.lock.TryLock()
		if err != nil {
			return nil, errors.Join(err, os.Remove(f.Name()))
		}
		// A sweep may have taken the file for a dead one before it was locked.
		if _, err := os.Stat(f.Name()); !got || err != nil {
			if err := s.lock.Unlock(); err != nil {
				return nil, err
			}
			continue
		}
		return s, os.Mkdir(s.dir, 0o700) // disks in the making hold what is no one else's business
	}
}

// remove removes the staging directory with what is in it.
func (s *staging) remove() error {
	if err := os.RemoveAll(s.dir); err != nil {
		return err
	}
	return errors.Join(os.Remove(s.lock.Path()), s.lock.Unlock())
}

// sweep removes the staging directories in parent whose processes are dead.
func sweep(parent string) error {
	entries, err := os.ReadDir(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	for _, e := range entries {
		name, isLock := strings.CutSuffix(e.Name(), lockSuffix)
		if !isLock || !strings.HasPrefix(name, stagingPrefix) {
			continue
		}
		if err := sweepOne(filepath.Join(parent, name)); err != nil {
			return fmt.Errorf("remove what a dead export left: %w", err)
		}
	}
	return nil
}

func sweepOne(dir string) error {
	lock := flock.New(dir+lockSuffix, flock.SetFlag(os.O_RDWR))
	got, err := lock.TryLock()
	if errors.Is(err, fs.ErrNotExist) || err == nil && !got {
		return nil
	} else if err != nil {
		return err
	}
	err = os.RemoveAll(dir)
	if err == nil {
		err = os.Remove(dir + lockSuffix)
	}
	return errors.Join(err, lock.Unlock())
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) (err error) {
	if runtime.GOOS == "windows" {
		return nil // directories cannot be synced, and renames are journaled
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.Sync()
}

// publish moves the files of m from the staging directory into dir. The old
// manifest goes first and the new one comes last, so that a manifest never
// speaks of files that are not there. Files of the old artifact that the new
// one does not have are removed.
func (s *staging) publish(dir string, m *Manifest) error {
	b, err := m.encode()
	if err != nil {
		return err
	}
	if err := errors.Join(writeSynced(filepath.Join(s.dir, SumsName), []byte(m.Sums())), writeSynced(filepath.Join(s.dir, ManifestName), b)); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	old, err := ReadManifest(dir)
	if err != nil {
		old = &Manifest{} // none, or one that says nothing
	}
	if err := os.Remove(filepath.Join(dir, ManifestName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	tops := map[string]bool{}
	for _, f := range m.Files {
		top, _, _ := strings.Cut(f.Path, "/")
		if tops[top] {
			continue
		}
		tops[top] = true
		if err := s.move(dir, top); err != nil {
			return err
		}
	}
	for _, f := range old.Files {
		top, _, _ := strings.Cut(f.Path, "/")
		if !tops[top] {
			tops[top] = true
			if err := os.RemoveAll(filepath.Join(dir, top)); err != nil {
				return err
			}
		}
	}
	if err := s.move(dir, SumsName); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	if err := s.move(dir, ManifestName); err != nil {
		return err
	}
	return syncDir(dir)
}

// move renames a file or folder from the staging directory into dir. What is
// there before, where a rename cannot replace it, goes to the staging directory
// and is removed with it.
func (s *staging) move(dir, name string) error {
	to := filepath.Join(dir, name)
	from := filepath.Join(s.dir, name)
	was, err := os.Lstat(to)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	is, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if was != nil && (was.IsDir() || is.IsDir()) {
		if err := os.Rename(to, from+".old"); err != nil {
			return err
		}
	}
	return os.Rename(from, to)
}

func writeSynced(path string, b []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}
