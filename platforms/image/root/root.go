package root

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// A volume is a partition and what it holds.
type volume struct {
	partition
	fs          string // as mount(8) names it; "LVM" or "LUKS"; "" when it is unknown
	uuid, label string
}

// String names the volume for users.
func (v volume) String() string {
	name := "the disk"
	if v.number > 0 {
		name = fmt.Sprintf("partition %d", v.number)
	}
	return fmt.Sprintf("%s (%s)", name, cmp.Or(v.fs, "unknown"))
}

// container reports whether the volume holds others, which are not opened.
func (v volume) container() bool { return slices.Contains([]string{"LVM", "LUKS", "RAID"}, v.fs) }

// readable reports whether the volume holds a file system that is known.
func (v volume) readable() bool { return v.fs != "" && !v.container() }

// readVolumes lists what is on a raw disk, in the order of its table.
func readVolumes(raw string) (list []volume, err error) {
	f, err := os.Open(raw)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return volumes(f, info.Size())
}

func volumes(disk io.ReaderAt, size int64) ([]volume, error) {
	parts, err := partitions(disk, size)
	if err != nil {
		return nil, err
	}
	var list []volume
	for _, p := range parts {
		v := volume{partition: p}
		if v.fs, err = fileSystem(disk, p); err != nil {
			return nil, err
		}
		if v.uuid, v.label, err = identify(disk, p, v.fs); err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// candidates returns the volumes that could be a root, the largest first.
func candidates(all []volume) ([]volume, error) {
	var list []volume
	var unknown []string
	for _, v := range all {
		switch {
		case v.container():
			unknown = append(unknown, v.fs)
		case v.readable() && v.fs != "vfat":
			list = append(list, v)
		}
	}
	slices.SortStableFunc(list, func(a, b volume) int { return cmp.Compare(b.size, a.size) })
	if len(list) == 0 && len(unknown) > 0 {
		return nil, fmt.Errorf("its file systems are inside of %s, which bake does not open", strings.Join(unknown, " and "))
	}
	if len(list) == 0 {
		return nil, errors.New("no partition of it holds a file system that a machine has for its root")
	}
	return list, nil
}
