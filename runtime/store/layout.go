package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/store/lockfile"
)

// version is the content of the file "version".
const version = "bake store 1\n"

// The names in the store's directory.
const (
	versionName = "version"
	lockName    = "lock"
	layersName  = "layers"
	stagingName = "staging"
	locksName   = "locks"
	leasesName  = "leases"
	trashName   = "trash"
	recordsName = "records"
	cacheName   = "cache"
	statName    = "statcache"
	ledgerName  = "ledger" // not the store's, but lies here
)

// The names in a layer's directory.
const (
	metaName     = "meta.json"
	manifestName = "manifest.zst"
	factsName    = "facts"
	durableName  = "durable"
	dataName     = "data"
)

// DefaultDir returns where the store lies unless the user says otherwise:
// $BAKE_CACHE_DIR, else bake in $XDG_CACHE_HOME, else ~/.cache/bake, or what
// the operating system has for that. Root without a home has /var/cache/bake.
func DefaultDir() (string, error) {
	if d := os.Getenv("BAKE_CACHE_DIR"); d != "" {
		return filepath.Abs(d)
	}
	// The XDG specification wants relative paths ignored.
	if d := os.Getenv("XDG_CACHE_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "bake"), nil
	}
	home, err := os.UserHomeDir()
	switch {
	case err != nil && os.Geteuid() == 0:
		return "/var/cache/bake", nil
	case err != nil:
		return "", fmt.Errorf("find the cache directory: %w: set BAKE_CACHE_DIR", err)
	case runtime.GOOS == "windows" || runtime.GOOS == "darwin":
		d, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find the cache directory: %w: set BAKE_CACHE_DIR", err)
		}
		return filepath.Join(d, "bake"), nil
	}
	return filepath.Join(home, ".cache", "bake"), nil
}

// layerDir returns the directory of the layer k.
func (s *Store) layerDir(k plan.Key) string {
	hex := k.String()
	return filepath.Join(s.dir, layersName, hex[:2], hex)
}

// global takes the one lock of the whole store, which is held for
// milliseconds only.
func (s *Store) global() (*lockfile.Lock, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	l, err := lockfile.Acquire(ctx, filepath.Join(s.dir, lockName), nil)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("lock the store: another process has held %s for a minute", lockName)
	}
	return l, err
}

// layOut makes the directories that are missing.
func (s *Store) layOut() (err error) {
	v, err := os.ReadFile(filepath.Join(s.dir, versionName))
	if err == nil && string(v) == version && s.hasDirs() {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(s.dir), 0o711); err != nil {
		return err
	}
	if err := closedDir(s.dir); err != nil {
		return err
	}
	l, err := s.global()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Unlock()) }()
	v, err = os.ReadFile(filepath.Join(s.dir, versionName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := s.onlyOurs(); err != nil {
			return err
		}
	case err != nil:
		return err
	case string(v) != version:
		return fmt.Errorf("its version is %q, this bake reads %q: use another BAKE_CACHE_DIR or remove it",
			strings.TrimSpace(string(v)), strings.TrimSpace(version))
	}
	for _, name := range dirs {
		if err := closedDir(filepath.Join(s.dir, name)); err != nil {
			return err
		}
	}
	if v != nil {
		return nil
	}
	return writeVersion(filepath.Join(s.dir, versionName))
}

// writeVersion writes the one file that the whole store depends on, and sees
// to it that a loss of power cannot leave it empty.
func writeVersion(path string) error {
	f, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	_, err = f.WriteString(version)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// dirs are the directories of a store. What lies there holds other systems'
// secrets and setuid programs, from the first moment on: so all of them, and
// the store itself, are closed to other users. Tools that drop their
// privileges are given a way of their own, in a mount namespace.
var dirs = [...]string{layersName, stagingName, locksName, leasesName, trashName, recordsName, cacheName}

// hasDirs reports whether all directories are there and closed.
func (s *Store) hasDirs() bool {
	if !isClosed(s.dir) {
		return false
	}
	for _, name := range dirs {
		if !isClosed(filepath.Join(s.dir, name)) {
			return false
		}
	}
	return true
}

// closedMode is the mode of the directories of a store.
const closedMode = 0o700

func isClosed(dir string) bool {
	fi, err := os.Lstat(dir)
	return err == nil && fi.IsDir() && (fi.Mode().Perm() == closedMode || runtime.GOOS == "windows")
}

// closedDir makes the directory path, or closes one that is there: that of an
// older bake, or one that the user has made. It refuses what another user has
// put in a directory that all users may write to, such as /tmp.
func closedDir(path string) error {
	err := os.Mkdir(path, closedMode)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err != nil {
		if err := planted(path); err != nil {
			return err
		}
	}
	if isClosed(path) {
		return nil
	}
	// Stat's error tells of what is in the place of a directory.
	if fi, err := os.Stat(path); err != nil {
		return err
	} else if !fi.IsDir() {
		return &fs.PathError{Op: "open", Path: path, Err: syscall.ENOTDIR}
	}
	if err := os.Chmod(path, closedMode); err != nil {
		return fmt.Errorf("close it to other users: %w", err)
	}
	return nil
}

// onlyOurs fails if the directory holds what no store would.
func (s *Store) onlyOurs() error {
	names, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range names {
		if slices.Contains(dirs[:], e.Name()) || e.Name() == lockName || e.Name() == ledgerName {
			continue
		}
		if e.Name() == versionName+".new" {
			continue
		}
		return fmt.Errorf("the directory holds %q and is not a store: choose an empty one", e.Name())
	}
	return nil
}
