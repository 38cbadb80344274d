package rootfs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// findParents returns where groups for the limits can be made, at most one for
// each controller.
func findParents() []parent {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	var found []parent
	var memory, pids bool
	for _, h := range hierarchies(string(mounts), string(own)) {
		p, ok := h.parent()
		if !ok {
			continue
		}
		p.memory = p.memory && !memory
		p.pids = p.pids && !pids
		if p.memory || p.pids {
			found = append(found, p)
			memory, pids = memory || p.memory, pids || p.pids
		}
	}
	return found
}

// A hierarchy is one mounted tree of control groups.
type hierarchy struct {
	mount       string
	own         string // the group of this process, below mount
	v2          bool
	controllers []string // of version 1
}

// hierarchies reads /proc/self/mountinfo and /proc/self/cgroup.
func hierarchies(mounts, own string) []hierarchy {
	var hs []hierarchy
	for line := range strings.Lines(mounts) {
		before, after, ok := strings.Cut(line, " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(g) < 3 || !strings.HasPrefix(g[0], "cgroup") {
			continue
		}
		h := hierarchy{mount: f[4], v2: g[0] == "cgroup2", controllers: strings.Split(g[2], ",")}
		path, ok := ownPath(own, h)
		if !ok {
			continue
		}
		rel, err := filepath.Rel(f[3], path) // a container may see a part only
		if err != nil || strings.HasPrefix(rel, "..") {
			rel = "."
		}
		h.own = filepath.Join(h.mount, rel)
		hs = append(hs, h)
	}
	return hs
}

func ownPath(own string, h hierarchy) (string, bool) {
	for line := range strings.Lines(own) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		if h.v2 && f[0] == "0" && f[1] == "" {
			return f[2], true
		}
		if !h.v2 && f[1] != "" && slices.Contains(h.controllers, strings.Split(f[1], ",")[0]) {
			return f[2], true
		}
	}
	return "", false
}

// parent finds the nearest group at or above that of this process below which
// a group with a wanted controller can be made.
func (h hierarchy) parent() (parent, bool) {
	for dir := h.own; strings.HasPrefix(dir, h.mount); dir = filepath.Dir(dir) {
		p := parent{dir: dir, v2: h.v2}
		given := h.controllers
		if h.v2 {
			b, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
			if err != nil {
				return p, false
			}
			given = strings.Fields(string(b))
		}
		p.memory = slices.Contains(given, "memory")
		p.pids = slices.Contains(given, "pids")
		if (p.memory || p.pids) && unix.Access(dir, unix.W_OK) == nil {
			return p, true
		}
		if !h.v2 && !p.memory && !p.pids {
			return p, false
		}
	}
	return parent{}, false
}
