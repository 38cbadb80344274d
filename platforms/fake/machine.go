package fake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"bake.build/bake/platforms"
)

var errClosed = errors.New("the machine is closed")

type machine struct {
	driver *Driver
	closed context.Context
	end    context.CancelFunc
	once   sync.Once // of Close

	mu      sync.Mutex // held by the one method that runs
	tree    Files
	console []byte // what was written there; guarded by Driver.mu
}

// begin counts a call and takes the machine for it.
func (m *machine) begin(ctx context.Context, c Call, what string) (context.Context, func(), error) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(m.closed, func() { cancel(errClosed) })
	m.mu.Lock()
	done := func() {
		stop()
		cancel(nil)
		m.mu.Unlock()
	}
	err := m.driver.call(ctx, c, what)
	if m.closed.Err() != nil {
		err = fmt.Errorf("%s %s: %w", c, what, errClosed)
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return ctx, done, nil
}

// Run implements platforms.Machine.
func (m *machine) Run(ctx context.Context, c platforms.Cmd) error {
	what := strings.Join(c.Args, " ")
	ctx, done, err := m.begin(ctx, Run, what)
	if err != nil {
		return err
	}
	defer done()
	if len(c.Args) == 0 {
		return errors.New("run: no command")
	}
	release, err := m.driver.lockCaches(ctx, c.Caches, c.Waiting)
	if err != nil {
		return fmt.Errorf("run %s: %w", what, err)
	}
	defer release()
	s, err := m.shell(ctx, c)
	if err != nil {
		return fmt.Errorf("run %s: %w", what, err)
	}
	err = s.exec(c.Args)
	m.keep(s, c)
	if ctx.Err() != nil {
		return fmt.Errorf("run %s: %w", what, context.Cause(ctx))
	}
	return err
}

// shell prepares the tree as a command sees it.
func (m *machine) shell(ctx context.Context, c platforms.Cmd) (*shell, error) {
	s := &shell{ctx: ctx, files: m.tree.clone(), cmd: c, dir: c.Dir, env: map[string]string{"PATH": "/bin", "HOME": "/root"}}
	if s.dir == "" {
		s.dir = "/"
	}
	if n, err := s.files.get(s.dir); err != nil || !n.Dir {
		return nil, fmt.Errorf("enter directory %s: it is not in the machine", s.dir)
	}
	var err error
	if s.uid, s.gid, err = m.tree.user(c.User); err != nil {
		return nil, err
	}
	for _, kv := range c.Env {
		name, value, _ := strings.Cut(kv, "=")
		s.env[name] = value
	}
	s.files.remove("/run")
	for _, dir := range []string{"/run", "/dev"} {
		if _, err := s.files.mkdirAll(dir); err != nil {
			return nil, err
		}
	}
	for _, f := range c.Files {
		name := path.Clean(f.Path)
		if !strings.HasPrefix(name, "/run/") {
			return nil, fmt.Errorf("file %s: files in memory lie below /run", f.Path)
		}
		if _, err := s.files.mkdirAll(path.Dir(name)); err != nil {
			return nil, err
		}
		s.files[name] = &Node{Mode: int64(f.Mode), Data: slices.Clone(f.Data)}
	}
	m.driver.mu.Lock()
	defer m.driver.mu.Unlock()
	for _, cache := range c.Caches {
		s.files.remove(cache.Dir)
		if _, err := s.files.mkdirAll(cache.Dir); err != nil {
			return nil, err
		}
		for name, n := range m.driver.caches[cache.ID].files {
			s.files[path.Join(cache.Dir, name)] = n
		}
	}
	return s, nil
}

// keep takes over what the command did to the tree and to its caches.
func (m *machine) keep(s *shell, c platforms.Cmd) {
	m.driver.mu.Lock()
	defer m.driver.mu.Unlock()
	for _, cache := range c.Caches {
		kept := Files{}
		for _, name := range s.files.below(cache.Dir) {
			if name != cache.Dir {
				kept[strings.TrimPrefix(name, cache.Dir)] = s.files[name]
			}
		}
		m.driver.caches[cache.ID].files = kept
		s.files.remove(cache.Dir)
	}
	s.files.remove("/run")
	if n := s.files[consolePath]; n != nil {
		m.console = append(m.console, n.Data...)
	}
	s.files.remove("/dev")
	m.tree = s.files
}

// user resolves a user as platforms.Cmd documents it.
func (t Files) user(spec string) (uid, gid string, err error) {
	if spec == "" {
		return "0", "0", nil
	}
	user, group, hasGroup := strings.Cut(spec, ":")
	uid, gid = user, "0"
	known := strings.Trim(user, "0123456789") == ""
	if n := t["/etc/passwd"]; n != nil {
		for line := range strings.Lines(string(n.Data)) {
			if f := strings.Split(line, ":"); len(f) > 3 && (f[0] == user || f[2] == user) {
				uid, gid, known = f[2], f[3], true
			}
		}
	}
	if !known {
		return "", "", fmt.Errorf("find user %q: not in /etc/passwd", user)
	}
	if hasGroup {
		gid = group
	}
	return uid, gid, nil
}

// Write implements platforms.Machine.
func (m *machine) Write(ctx context.Context, dst string, tar io.Reader) error {
	ctx, done, err := m.begin(ctx, Write, dst)
	if err != nil {
		return err
	}
	defer done()
	if err := m.tree.unpack(ctx, dst, tar); err != nil {
		return fmt.Errorf("write to %s: %w", dst, err)
	}
	return nil
}

// Read implements platforms.Machine.
func (m *machine) Read(ctx context.Context, src string, tar io.Writer) error {
	_, done, err := m.begin(ctx, Read, src)
	if err != nil {
		return err
	}
	defer done()
	if err := m.tree.pack(src, tar); err != nil {
		return fmt.Errorf("read %s: %w", src, err)
	}
	return nil
}

// Commit implements platforms.Machine.
func (m *machine) Commit(ctx context.Context, s platforms.State) (platforms.Made, error) {
	_, done, err := m.begin(ctx, Commit, s.Dir)
	if err != nil {
		return platforms.Made{}, err
	}
	defer done()
	return platforms.Made{Ref: "fake"}, m.tree.save(s.Dir)
}

// Close implements platforms.Machine. Only the first call is counted.
func (m *machine) Close() (err error) {
	m.once.Do(func() {
		m.end()
		m.mu.Lock()
		defer m.mu.Unlock()
		m.driver.mu.Lock()
		m.driver.open--
		m.driver.mu.Unlock()
		err = m.driver.call(context.Background(), Close, "")
	})
	return err
}

// A cache is shared by the machines of a driver.
type cache struct {
	turn  chan struct{} // holds one value while the cache is free
	files Files         // names relative to the cache; guarded by Driver.mu
}

func (d *Driver) lockCaches(ctx context.Context, caches []platforms.Cache, waiting func(string) func()) (release func(), err error) {
	ids := map[string]bool{}
	for _, c := range caches {
		ids[c.ID] = true
	}
	var held []*cache
	release = func() {
		for _, c := range held {
			c.turn <- struct{}{}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		c := d.cache(id)
		select {
		case <-c.turn:
			held = append(held, c)
			continue
		default:
		}
		if waiting != nil {
			defer waiting("the cache " + id + ", which another step uses")()
			waiting = nil
		}
		select {
		case <-c.turn:
			held = append(held, c)
		case <-ctx.Done():
			release()
			return nil, context.Cause(ctx)
		}
	}
	return release, nil
}

func (d *Driver) cache(id string) *cache {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.caches == nil {
		d.caches = map[string]*cache{}
	}
	if d.caches[id] == nil {
		c := &cache{turn: make(chan struct{}, 1), files: Files{}}
		c.turn <- struct{}{}
		d.caches[id] = c
	}
	return d.caches[id]
}
