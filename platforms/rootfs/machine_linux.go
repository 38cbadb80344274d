package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/rootfs/archive"
	"bake.build/bake/platforms/rootfs/overlay"
)

var errClosed = errors.New("the machine is closed")

// A machine is an upper directory on a chain of layers.
type machine struct {
	driver *driver
	dir    string // holds upper, work and base
	remove func() error
	traits platforms.Traits // of its layers
	env    []string         // of the image that the first layer comes from
	epoch  time.Time        // what stands in layers for the time of the build
	closed context.Context  // done when Close was called
	end    context.CancelFunc

	mu        sync.Mutex // held by the one method that runs
	since     time.Time  // when the upper directory was made
	removed   bool
	chain     []string   // layers it was booted from
	committed []*os.File // layers it made; the store moves their directories
	group     *group     // nil until the first command
}

func newMachine(d *driver, dir string, remove func() error, chain []string) *machine {
	m := &machine{driver: d, dir: dir, remove: remove, chain: chain}
	m.closed, m.end = context.WithCancel(context.Background())
	return m
}

func (m *machine) upper() string { return filepath.Join(m.dir, "upper") }
func (m *machine) work() string  { return filepath.Join(m.dir, "work") }
func (m *machine) base() string  { return filepath.Join(m.dir, "base") }

func (m *machine) prepare() error {
	// What steps make, setuid programs among it, is not for users of the host.
	if err := os.Chmod(m.dir, 0o700); err != nil {
		return err
	}
	for _, dir := range []string{m.work(), m.base()} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	return m.newUpper(m.chain[len(m.chain)-1])
}

// newUpper makes the upper directory. It shows as the machine's root
// directory, so it takes after that of the layer below.
func (m *machine) newUpper(below string) error {
	var st unix.Stat_t
	if err := unix.Stat(below, &st); err != nil {
		return &os.PathError{Op: "stat", Path: below, Err: err}
	}
	dir := m.upper()
	if err := archive.NewDir(dir, 0o700); err != nil {
		return err
	}
	var err error
	if m.since, err = archive.ChangeTime(dir); err != nil {
		return err
	}
	if err := archive.CopyACLs(below, dir); err != nil {
		return err
	}
	if err := os.Lchown(dir, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Chmod(dir, st.Mode&0o7777); err != nil {
		return &os.PathError{Op: "chmod", Path: dir, Err: err}
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_NOW}, st.Mtim}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, dir, times, 0); err != nil {
		return &os.PathError{Op: "set times", Path: dir, Err: err}
	}
	return nil
}

// layers returns the overlay as it is now.
func (m *machine) layers() (overlay.Mount, error) {
	o := overlay.Mount{Upper: m.upper(), Work: m.work(), UserXattr: m.driver.userNS}
	o.Lowers = append(o.Lowers, m.chain...)
	for _, f := range m.committed {
		dir, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
		if err != nil {
			return o, err
		}
		if strings.HasSuffix(dir, " (deleted)") {
			return o, fmt.Errorf("layer %s: it was removed while the machine stands on it", strings.TrimSuffix(dir, " (deleted)"))
		}
		o.Lowers = append(o.Lowers, dir)
	}
	return o, nil
}

// lock takes the machine for one method. The context ends with ctx and with
// the machine.
func (m *machine) lock(ctx context.Context) (context.Context, func(), error) {
	m.mu.Lock()
	if m.removed || m.closed.Err() != nil {
		m.mu.Unlock()
		return nil, nil, errClosed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(m.closed, func() { cancel(errClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
		m.mu.Unlock()
	}, nil
}

// Write implements platforms.Machine. Links on the way to dst are followed
// inside of the machine.
func (m *machine) Write(ctx context.Context, dst string, tar io.Reader) error {
	ctx, unlock, err := m.lock(ctx)
	if err != nil {
		return fmt.Errorf("write to %s: %w", dst, err)
	}
	defer unlock()
	o, err := m.layers()
	if err != nil {
		return fmt.Errorf("write to %s: %w", dst, err)
	}
	options := archive.Options{NoDevices: m.driver.userNS, KeepDirLinks: true, KeepDirs: true, Links: archive.LinksBeneath}
	if filepath.Clean("/"+dst) == "/" {
		options.Links = archive.LinksInRoot
	}
	err = o.Use(m.base(), func(root string) error {
		dir, err := archive.MkdirAll(root, dst)
		if err != nil {
			return err
		}
		defer dir.Close()
		return archive.Unpack(ctx, fmt.Sprintf("/proc/self/fd/%d", dir.Fd()), tar, options)
	})
	if err != nil {
		return fmt.Errorf("write to %s: %w", dst, err)
	}
	return nil
}

// Read implements platforms.Machine. Links on the way to src are followed
// inside of the machine, src itself is not.
func (m *machine) Read(ctx context.Context, src string, tar io.Writer) error {
	ctx, unlock, err := m.lock(ctx)
	if err != nil {
		return fmt.Errorf("read %s: %w", src, err)
	}
	defer unlock()
	o, err := m.layers()
	if err != nil {
		return fmt.Errorf("read %s: %w", src, err)
	}
	name := filepath.Base(filepath.Clean("/" + src))
	if name == "/" {
		name = "."
	}
	err = o.Use(m.base(), func(root string) error {
		dir, err := archive.OpenDir(root, filepath.Dir(filepath.Clean("/"+src)))
		if err != nil {
			return err
		}
		defer dir.Close()
		file := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name)
		if _, err := os.Lstat(file); err != nil {
			return err
		}
		return archive.Pack(ctx, tar, file, archive.Options{Name: name})
	})
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read %s: it is not in the machine: %w", src, fs.ErrNotExist)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", src, err)
	}
	return nil
}

// Commit implements platforms.Machine.
func (m *machine) Commit(ctx context.Context, s platforms.State) (platforms.Made, error) {
	_, unlock, err := m.lock(ctx)
	if err != nil {
		return platforms.Made{}, fmt.Errorf("commit: %w", err)
	}
	defer unlock()
	if err := ctx.Err(); err != nil {
		return platforms.Made{}, fmt.Errorf("commit: %w", err)
	}
	o, err := m.layers()
	if err != nil {
		return platforms.Made{}, fmt.Errorf("commit: %w", err)
	}
	if err := o.Settle(m.base()); err != nil {
		return platforms.Made{}, fmt.Errorf("commit: %w", err)
	}
	if _, err := archive.ClampTimes(m.upper(), m.since, m.epoch); err != nil {
		return platforms.Made{}, fmt.Errorf("commit: %w", err)
	}
	fs := filepath.Join(s.Dir, fsName)
	if err := os.Rename(m.upper(), fs); err != nil {
		return platforms.Made{}, fmt.Errorf("commit: %w", err)
	}
	fd, err := unix.Open(fs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return platforms.Made{}, fmt.Errorf("commit: open %s: %w", fs, err)
	}
	m.committed = append(m.committed, os.NewFile(uintptr(fd), fs))
	if err := m.newUpper(fs); err != nil {
		return platforms.Made{}, fmt.Errorf("commit: %w", err)
	}
	if err := os.Chtimes(s.Dir, platforms.FileTime, platforms.FileTime); err != nil {
		return platforms.Made{}, fmt.Errorf("commit: %w", err)
	}
	return platforms.Made{Traits: m.traits}, nil
}

// Close implements platforms.Machine. A command that runs is killed.
func (m *machine) Close() error {
	m.end()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.removed {
		return nil
	}
	m.removed = true
	var errs []error
	for _, f := range m.committed {
		errs = append(errs, f.Close())
	}
	errs = append(errs, m.group.remove(), m.remove())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close machine: %w", err)
	}
	return nil
}
