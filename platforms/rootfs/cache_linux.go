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
func (d *driver) caches(ctx context.Context, caches []platforms.Cache) (mounts []sandbox.Cache, release func(), err error) {
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
		dir, lock, err := d.cache(ctx, c.ID)
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

func (d *driver) cache(ctx context.Context, id string) (dir string, lock *os.File, err error) {
	top, err := d.host.CacheDir("rootfs-" + plain(id))
	if err != nil {
		return "", nil, err
	}
	// What steps put here, setuid programs among it, is not for users of the host.
	if err := os.Chmod(top, 0o700); err != nil {
		return "", nil, err
	}
	dir = filepath.Join(top, "data")
	if err := makeCache(dir); err != nil {
		return "", nil, err
	}
	lock, err = os.OpenFile(filepath.Join(top, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", nil, err
	}
	// The kernel has no wait that ends with a context.
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return dir, lock, nil
		}
		if err != unix.EWOULDBLOCK && err != unix.EINTR {
			lock.Close()
			return "", nil, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			lock.Close()
			return "", nil, ctx.Err()
		}
	}
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
