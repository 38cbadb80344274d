package export

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"bake.build/bake/internal/durable"
	"bake.build/bake/runtime/store/lockfile"
)

// stagingPrefix begins the names of staging directories, which end with the
// name of the artifact. A lock file of the same name with lockSuffix lies beside
// each for as long as it is there: it is made first and removed last, and the
// process that fills the directory holds its lock. So an artifact has one writer
// at a time, whichever builds of whichever definitions write it.
const (
	stagingPrefix = ".bake-export-"
	lockSuffix    = ".lock"
)

// A staging is a directory for files that are not whole yet, on the file
// system of the artifact.
type staging struct {
	dir  string
	lock *lockfile.Lock
}

// newStaging makes the staging directory of the artifact in dir. It waits for
// another build that writes this artifact, of which it calls waiting once.
func newStaging(ctx context.Context, dir string, waiting func()) (*staging, error) {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, err
	}
	name := filepath.Base(dir)
	for _, suffix := range Suffixes() { // one lock for all the places of an artifact
		name = strings.TrimSuffix(name, suffix)
	}
	s := &staging{dir: filepath.Join(parent, stagingPrefix+name)}
	var err error
	if s.lock, err = lockfile.Acquire(ctx, s.dir+lockSuffix, waiting); err != nil {
		return nil, err
	}
	err = os.RemoveAll(s.dir) // what a dead process left
	if err == nil {
		err = os.Mkdir(s.dir, 0o700) // disks in the making hold what is no one else's business
	}
	if err != nil {
		return nil, errors.Join(err, s.lock.Remove())
	}
	return s, nil
}

// remove removes the staging directory with what is in it.
func (s *staging) remove() error {
	return errors.Join(os.RemoveAll(s.dir), s.lock.Remove())
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
	lock, err := lockfile.Try(dir + lockSuffix)
	if lock == nil || err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(dir), lock.Remove())
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
	if err := writeSynced(filepath.Join(s.dir, ManifestName), b); err != nil {
		return err
	}
	if len(m.Files) > 0 {
		if err := writeSynced(filepath.Join(s.dir, SumsName), []byte(m.Sums())); err != nil {
			return err
		}
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
	if len(m.Files) > 0 {
		if err := s.move(dir, SumsName); err != nil {
			return err
		}
	} else if err := os.Remove(filepath.Join(dir, SumsName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := durable.SyncDir(dir); err != nil {
		return err
	}
	if err := s.move(dir, ManifestName); err != nil {
		return err
	}
	return durable.SyncDir(dir)
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

// InStaging reports whether path is that of a file of an artifact in the making.
func InStaging(path string) bool { return strings.Contains(path, stagingPrefix) }
