package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// groups makes control groups, of both versions, where this process may. There
// are hosts where it may not: limits then do not hold, which is documented.
type groups struct {
	limits  limits
	parents func() []parent
	count   atomic.Int64
}

// A parent is a group below which groups with some controllers can be made.
type parent struct {
	dir          string
	v2           bool
	memory, pids bool
}

// A group is the control groups of one machine; nil is one without.
type group struct {
	dirs []parent // the machine's own groups, one in each hierarchy
}

func newGroups(l limits) *groups {
	g := &groups{limits: l}
	g.parents = sync.OnceValue(func() []parent {
		ps := findParents()
		for _, p := range ps {
			removeStale(p.dir)
		}
		return ps
	})
	return g
}

// groupPrefix begins the names of groups: it is followed by the process that
// made it, when that was started, and a number.
const groupPrefix = "bake-"

func (g *groups) make() *group {
	name := fmt.Sprintf("%s%d-%s-%d", groupPrefix, os.Getpid(), startTime(os.Getpid()), g.count.Add(1))
	made := &group{}
	for _, p := range g.parents() {
		p.dir = filepath.Join(p.dir, name)
		if os.Mkdir(p.dir, 0o755) != nil {
			continue
		}
		if err := p.limit(g.limits); err != nil {
			_ = os.Remove(p.dir) // a group without its limits is of no use
			continue
		}
		made.dirs = append(made.dirs, p)
	}
	return made
}

func (p parent) limit(l limits) error {
	if p.pids {
		if err := p.write("pids.max", strconv.Itoa(l.pids)); err != nil {
			return err
		}
	}
	if !p.memory || l.memory == 0 {
		return nil
	}
	if p.v2 {
		// Swap would only put off the end. Kernels without it lack the file.
		if err := p.write("memory.swap.max", "0"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return p.write("memory.max", strconv.FormatInt(l.memory, 10))
	}
	return p.write("memory.limit_in_bytes", strconv.FormatInt(l.memory, 10))
}

func (p parent) write(file, value string) error {
	return os.WriteFile(filepath.Join(p.dir, file), []byte(value), 0)
}

// add moves a process, with what it will start, into the group.
func (g *group) add(pid int) error {
	if g == nil {
		return nil
	}
	for _, p := range g.dirs {
		if err := p.write("cgroup.procs", strconv.Itoa(pid)); err != nil {
			return fmt.Errorf("add init to control group: %w", err)
		}
	}
	return nil
}

// kills counts the processes of the group that were killed for want of memory.
func (g *group) kills() int {
	if g == nil {
		return 0
	}
	for _, p := range g.dirs {
		file := "memory.oom_control"
		if p.v2 {
			file = "memory.events"
		}
		b, err := os.ReadFile(filepath.Join(p.dir, file))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(line, "oom_kill "); ok {
				n, _ := strconv.Atoi(strings.TrimSpace(v)) // the kernel's own number
				return n
			}
		}
	}
	return 0
}

func (g *group) remove() error {
	if g == nil {
		return nil
	}
	var errs []error
	for _, p := range g.dirs {
		errs = append(errs, removeGroup(p.dir))
	}
	return errors.Join(errs...)
}

// removeGroup waits for the last process of a group to be gone: it may have
// been killed only just now.
func removeGroup(dir string) error {
	for wait := time.Millisecond; ; wait *= 2 {
		err := unix.Rmdir(dir)
		if err == nil || err == unix.ENOENT {
			return nil
		}
		if err != unix.EBUSY || wait > 500*time.Millisecond {
			return &os.PathError{Op: "remove control group", Path: dir, Err: err}
		}
		time.Sleep(wait)
	}
}

// removeStale removes the groups of dead processes. What cannot be removed
// harms nobody and is left to the next.
func removeStale(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		f := strings.Split(strings.TrimPrefix(e.Name(), groupPrefix), "-")
		if !strings.HasPrefix(e.Name(), groupPrefix) || len(f) != 3 {
			continue
		}
		if pid, err := strconv.Atoi(f[0]); err == nil && startTime(pid) != f[1] {
			_ = unix.Rmdir(filepath.Join(dir, e.Name()))
		}
	}
}

// startTime tells a process from a later one with the same id; "" if there is
// none.
func startTime(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The name may hold anything; the fields after it are numbers.
	_, rest, _ := strings.Cut(string(b[strings.LastIndexByte(string(b), ')'):]), " ")
	if f := strings.Fields(rest); len(f) > 19 {
		return f[19]
	}
	return ""
}
