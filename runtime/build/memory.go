package build

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// usableMemory returns how many bytes of memory this process may use: the host's, or
// less where a control group says so. It is 0 where the system does not tell as
// Linux does. root is the root file system.
func usableMemory(root fs.FS) (int64, error) {
	total, err := hostMemory(root)
	if err != nil || total == 0 {
		return total, err
	}
	limit, err := groupMemory(root)
	if err == nil && limit > 0 {
		total = min(total, limit)
	}
	return total, err
}

// hostMemory returns the memory of the host in bytes.
func hostMemory(root fs.FS) (int64, error) {
	data, err := fs.ReadFile(root, "proc/meminfo")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "MemTotal:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, nil
}

// groupMemory returns the least limit of the control groups of this process, in
// bytes, or 0 where there is none. See cgroups(7).
func groupMemory(root fs.FS) (int64, error) {
	data, err := fs.ReadFile(root, "proc/self/cgroup")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	var least int64
	for line := range strings.Lines(string(data)) {
		// hierarchy:controllers:path
		field := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(field) != 3 {
			continue
		}
		at, file := "sys/fs/cgroup", "memory.max"
		if field[1] == "memory" {
			at, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes" // version 1
		} else if field[0] != "0" || field[1] != "" {
			continue
		}
		for dir := path.Clean("/" + field[2]); ; dir = path.Dir(dir) {
			limit, err := groupLimit(root, path.Join(at, dir, file))
			if err != nil {
				return 0, err
			}
			if limit > 0 && (least == 0 || limit < least) {
				least = limit
			}
			if dir == "/" {
				break
			}
		}
	}
	return least, nil
}

// groupLimit reads a limit in bytes; 0 means none. A container sees its group as the
// root, so a directory may not be there.
func groupLimit(root fs.FS, name string) (int64, error) {
	data, err := fs.ReadFile(root, name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	text := strings.TrimSpace(string(data))
	if text == "max" {
		return 0, nil
	}
	limit, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("/%s: %q is no limit", name, text)
	}
	return limit, nil
}
