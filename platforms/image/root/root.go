package root

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// A candidate is a file system that could be a root.
type candidate struct {
	partition
	kind string // as mount(8) names it
}

// candidates returns the file systems of a raw disk, the largest first.
func candidates(raw string) (list []candidate, err error) {
	f, err := os.Open(raw)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	parts, err := partitions(f, info.Size())
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(parts, func(a, b partition) int { return cmp.Compare(b.size, a.size) })
	var unknown []string
	for _, p := range parts {
		fs, err := fileSystem(f, p)
		switch {
		case err != nil:
			return nil, err
		case fs == "LVM" || fs == "LUKS":
			unknown = append(unknown, fs)
		case fs != "":
			list = append(list, candidate{p, fs})
		}
	}
	if len(list) == 0 && len(unknown) > 0 {
		return nil, fmt.Errorf("its file systems are inside of %s, which bake does not open", strings.Join(unknown, " and "))
	}
	if len(list) == 0 {
		return nil, errors.New("no partition of it holds a file system that a machine has for its root")
	}
	return list, nil
}
