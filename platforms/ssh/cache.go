package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"bake.build/bake/platforms"
)

// A heldCache is a cache while a command uses it.
type heldCache struct {
	platforms.Cache
	file string // of this host, a tar archive; "" for none
	lock *flock.Flock
	seen string // what the directory held before the command
}

// useCaches puts caches into the machine, in memory, one command at a time.
// release takes them away; keep says to store what they hold then.
func (m *Machine) useCaches(ctx context.Context, l *link, caches []platforms.Cache, waiting func(string) func()) (release func(keep bool) error, err error) {
	var held []*heldCache
	release = func(keep bool) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.c.timeout())
		defer cancel()
		var errs []error
		for _, h := range slices.Backward(held) {
			errs = append(errs, m.releaseCache(ctx, l, h, keep))
		}
		return errors.Join(errs...)
	}
	// One order for all, so that no two wait for each other.
	sorted := slices.SortedFunc(slices.Values(caches), func(a, b platforms.Cache) int { return strings.Compare(a.ID, b.ID) })
	for _, c := range sorted {
		h := &heldCache{Cache: c}
		if err = m.lockCache(ctx, h, waiting); err == nil {
			held = append(held, h)
			err = m.fillCache(ctx, l, h)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("cache %q: %w", c.ID, err), release(false))
		}
	}
	return release, nil
}

// lockCache waits for its turn.
func (m *Machine) lockCache(ctx context.Context, h *heldCache, waiting func(string) func()) error {
	if m.c.Caches == "" {
		return nil
	}
	h.file = filepath.Join(m.c.Caches, url.PathEscape(h.ID)+".tar")
	h.lock = flock.New(h.file + ".lock")
	if ok, err := h.lock.TryLock(); err != nil {
		return fmt.Errorf("lock: %w", err)
	} else if ok {
		return nil
	}
	if waiting != nil {
		defer waiting("the cache " + h.Dir + ", which another step uses")()
	}
	if _, err := h.lock.TryLockContext(ctx, 50*time.Millisecond); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("lock: %w", err)
	}
	return nil
}

// listing sums up what a directory holds, to tell whether it has changed.
const listing = `(cd %s && find . -exec ls -ldn {} + | cksum)`

// fillCache mounts memory in the machine and unpacks the cache there.
func (m *Machine) fillCache(ctx context.Context, l *link, h *heldCache) error {
	dir := quote(h.Dir)
	script := fmt.Sprintf(`mkdir -p %[1]s && exec mount -t tmpfs -o size=75%%,mode=0755 bake-cache %[1]s`, dir)
	if err := m.pipe(ctx, l, script, nil, io.Discard); err != nil {
		return fmt.Errorf("mount memory: %w", err)
	}
	if h.file != "" {
		f, err := os.Open(h.file)
		if err == nil {
			err = m.pipe(ctx, l, fmt.Sprintf(`%s; cd %s && exec tar -x -p $o -f -`, tarOptions, dir), f, io.Discard)
			err = errors.Join(err, f.Close())
		} else if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		if err != nil {
			return errors.Join(fmt.Errorf("unpack: %w", err), m.unmount(ctx, l, h))
		}
	}
	var err error
	h.seen, err = l.control.do(ctx, fmt.Sprintf(listing, dir))
	return err
}

// releaseCache stores what the cache holds, if that has changed, and takes it
// away.
func (m *Machine) releaseCache(ctx context.Context, l *link, h *heldCache, keep bool) (err error) {
	if h.lock != nil {
		defer func() { err = errors.Join(err, h.lock.Unlock()) }()
	}
	if !l.alive() {
		return nil // the machine has gone, or its memory will with it
	}
	if keep && h.file != "" {
		now, err := l.control.do(ctx, fmt.Sprintf(listing, quote(h.Dir)))
		if err != nil {
			return fmt.Errorf("cache %q: %w", h.ID, err)
		}
		if now != h.seen {
			if err := m.storeCache(ctx, l, h); err != nil {
				return errors.Join(fmt.Errorf("cache %q: %w", h.ID, err), m.unmount(ctx, l, h))
			}
		}
	}
	return m.unmount(ctx, l, h)
}

func (m *Machine) storeCache(ctx context.Context, l *link, h *heldCache) error {
	f, err := os.CreateTemp(m.c.Caches, "new-*")
	if err != nil {
		return err
	}
	err = m.pipe(ctx, l, fmt.Sprintf(`%s; cd %s && exec tar -c $o -f - .`, tarOptions, quote(h.Dir)), nil, f)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), h.file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

func (m *Machine) unmount(ctx context.Context, l *link, h *heldCache) error {
	out, err := l.control.do(ctx, fmt.Sprintf(`umount %[1]s 2>&1 || umount -l %[1]s 2>&1`, quote(h.Dir)))
	if err == nil && strings.TrimSpace(out) != "" {
		err = errors.New(lastLine(out))
	}
	if err != nil {
		return fmt.Errorf("cache %q: unmount: %w", h.ID, err)
	}
	return nil
}
