package rootfs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/rootfs/sandbox"
)

// caches locks the caches and returns where they lie. Locks are taken in one
// order by all, so that commands that share several cannot wait for each other
// in a circle.
func (d *driver) caches(ctx context.Context, caches []platforms.Cache, waiting func(string) func()) (mounts []sandbox.Cache, release func(), err error) {
	var locks []*os.File
	release = func() {
		for _, f := range locks {
			f.Close()
		}
	}
	sorted := slices.Clone(caches)
	slices.SortFunc(sorted, func(a, b platforms.Cache) int { return strings.Compare(a.ID, b.ID) })
	dirs := map[string]string{}
	for _, c := range sorted {
		if _, ok := dirs[c.ID]; ok {
			continue
		}
		dir, lock, err := d.cache(ctx, c, waiting)
		if err != nil {
			release()
			return nil, nil, fmt.Errorf("open cache %q: %w", c.ID, err)
		}
		locks = append(locks, lock)
		dirs[c.ID] = dir
	}
	for _, c := range caches { // as given: one may lie inside of another
		mounts = append(mounts, sandbox.Cache{Source: dirs[c.ID], Dir: c.Dir})
	}
	return mounts, release, nil
}

// cachesName is the directory of the host that holds the caches of machines.
const cachesName = "rootfs-caches"

// cache locks one cache and makes its directory.
func (d *driver) cache(ctx context.Context, c platforms.Cache, waiting func(string) func()) (dir string, lock *os.File, err error) {
	all, err := d.host.CacheDir(cachesName)
	if err != nil {
		return "", nil, err
	}
	d.sweepCaches(all)
	// What steps put here, setuid programs among it, is not for users of the host.
	top := filepath.Join(all, plain(c.ID))
	for {
		if err := os.Mkdir(top, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return "", nil, err
		}
		lock, err = lockCache(ctx, top, c.Dir, waiting)
		if err != nil {
			return "", nil, err
		} else if lock != nil {
			break
		}
	}
	dir = filepath.Join(top, "data")
	// Its time tells sweepCaches of the last use.
	now := time.Now()
	if err := errors.Join(os.Chtimes(lock.Name(), now, now), makeCache(dir)); err != nil {
		lock.Close()
		return "", nil, err
	}
	return dir, lock, nil
}

// lockCache waits until the cache in the directory top is free. It returns nil
// if the cache was swept away meanwhile.
func lockCache(ctx context.Context, top, name string, waiting func(string) func()) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(top, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	// The kernel has no wait that ends with a context.
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if err != unix.EWOULDBLOCK && err != unix.EINTR {
			lock.Close()
			return nil, err
		}
		if waiting != nil {
			defer waiting("the cache " + name + ", which another step uses")()
			waiting = nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			lock.Close()
			return nil, ctx.Err()
		}
	}
	held, err := lock.Stat()
	if err == nil {
		var named os.FileInfo
		if named, err = os.Stat(lock.Name()); err == nil && os.SameFile(held, named) {
			return lock, nil
		}
	}
	lock.Close()
	if err == nil || errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return nil, err
}

// keepUnused is how long a cache stays that no step asks for, such as one of a
// pin that was renewed.
const keepUnused = 30 * 24 * time.Hour

// sweepCaches removes, once in the driver's life, caches that are not used any
// more. One that cannot be removed is left to the next driver.
func (d *driver) sweepCaches(all string) {
	d.swept.Do(func() {
		locks, err := filepath.Glob(filepath.Join(all, "*", "lock"))
		if err != nil {
			return
		}
		for _, name := range locks {
			fi, err := os.Stat(name)
			if err != nil || time.Since(fi.ModTime()) < keepUnused {
				continue
			}
			lock, err := os.OpenFile(name, os.O_RDWR, 0)
			if err != nil {
				continue
			}
			if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
				// The lock goes last: whoever waits for it then begins anew.
				if os.RemoveAll(filepath.Join(filepath.Dir(name), "data")) == nil {
					_ = os.RemoveAll(filepath.Dir(name))
				}
			}
			lock.Close()
		}
	})
}

// makeCache makes the directory that machines see unless it is there, in which
// case its mode is what a step has made of it. Steps of any user may look into
// it, whatever the umask.
func makeCache(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, os.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}

// plain makes a name for a directory: the id itself where it is one, and else
// one that no other id has.
func plain(id string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' || r == '-' {
			return r
		}
		return '-'
	}, id)
	if name == id && len(id) > 0 && len(id) < 64 {
		return id
	}
	return fmt.Sprintf("%.40s.%x", name, sha256.Sum256([]byte(id)))
}
