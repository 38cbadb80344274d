package archive

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// errUnknownName says that the tree's tables do not have a user or a group.
var errUnknownName = errors.New("not in the tree")

// id returns the number of a user or group by the tree's own tables.
func (t *tree) id(name string, group bool) (uint32, error) {
	table, what := "etc/passwd", "user"
	if group {
		table, what = "etc/group", "group"
	}
	if name == "root" {
		return 0, nil
	}
	text, err := t.readFile(table)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return 0, fmt.Errorf("look up %s %q: %w", what, name, err)
	}
	for line := range strings.Lines(text) {
		f := strings.Split(line, ":")
		if len(f) < 3 || f[0] != name {
			continue
		}
		n, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil {
			return 0, fmt.Errorf("look up %s %q: %w", what, name, err)
		}
		return uint32(n), nil
	}
	return 0, fmt.Errorf("%s %q: %w's /%s: have the archive written with numbers, as GNU tar does with --xattrs --xattrs-include='*' and bsdtar always", what, name, errUnknownName, table)
}

// readFile reads a small regular file of the tree.
func (t *tree) readFile(name string) (string, error) {
	const most = 4 << 20
	fd, err := unix.Openat2(t.root, name, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC, Resolve: t.resolve})
	if err != nil {
		return "", err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return "", err
	} else if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a file", name)
	}
	b, err := io.ReadAll(io.LimitReader(f, most))
	return string(b), err
}
