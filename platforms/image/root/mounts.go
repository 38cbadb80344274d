package root

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"bake.build/bake/internal/fstab"
)

// A mount is a volume that a machine has below its root.
type mount struct {
	volume
	dir    string // absolute
	subvol string // of btrfs; "" for the default one
	umask  uint32 // of vfat
	auto   bool   // by its type: only where the directory is there and empty
}

// mounts returns what the machine whose root is root mounts of its disk, parents
// before what lies in them: by its /etc/fstab and, for what that does not name,
// by the Discoverable Partitions Specification. What it would mount and cannot be
// read is an error. What is on another disk is left out.
func mounts(all []volume, root volume, table string) ([]mount, error) {
	var list []mount
	for _, e := range fstab.Entries(table) {
		if !followed(e) {
			continue
		}
		v, found := find(all, e)
		switch {
		case !found && !e.Has("nofail") && slices.ContainsFunc(all, volume.container):
			return nil, fmt.Errorf("its /etc/fstab has %s at %s, which may be inside of what bake does not open: %s",
				e.Spec, e.Dir, containers(all))
		case !found:
			continue
		case !v.readable():
			return nil, fmt.Errorf("its /etc/fstab has %s at %s: bake cannot read %s", e.Spec, e.Dir, v)
		}
		m := mount{volume: v, dir: path.Clean(e.Dir), umask: umask(e)}
		m.subvol, _ = e.Value("subvol")
		list = append(list, m)
	}
	list = append(list, discover(all, root, list)...)
	slices.SortStableFunc(list, func(a, b mount) int {
		return strings.Count(a.dir, "/") - strings.Count(b.dir, "/")
	})
	return list, nil
}

// followed reports whether an entry is a file system that is there once the
// machine has started, or holds its kernels.
func followed(e *fstab.Entry) bool {
	return e.OnDevice() && !e.Swap() && path.IsAbs(e.Dir) && path.Clean(e.Dir) != "/" &&
		(!e.Has("noauto") || e.Has("x-systemd.automount") || e.Dir == "/boot" || strings.HasPrefix(e.Dir, "/boot/"))
}

// firstDisk matches the names that Linux gives to the partitions of the first disk.
var firstDisk = regexp.MustCompile(`^/dev/(?:[hsv]da|xvda|nvme0n1p|mmcblk0p)(\d+)$`)

// find returns the volume that an entry names.
func find(all []volume, e *fstab.Entry) (volume, bool) {
	tag, value, _ := e.Tag()
	number := 0
	if m := firstDisk.FindStringSubmatch(e.Spec); m != nil {
		number, _ = strconv.Atoi(m[1]) // too many digits are the number of none
	}
	i := slices.IndexFunc(all, func(v volume) bool {
		switch tag {
		case "UUID":
			return v.uuid != "" && strings.EqualFold(v.uuid, value)
		case "LABEL":
			return v.label != "" && v.label == value
		case "PARTUUID":
			return v.id != "" && strings.EqualFold(v.id, value)
		case "PARTLABEL":
			return v.name != "" && v.name == value
		}
		return number > 0 && v.number == number
	})
	if i < 0 {
		return volume{}, false
	}
	return all[i], true
}

func containers(all []volume) string {
	var names []string
	for _, v := range all {
		if v.container() {
			names = append(names, v.String())
		}
	}
	return strings.Join(names, ", ")
}

// umask returns the option umask of a vfat file system, whose files have no
// permissions of their own.
func umask(e *fstab.Entry) uint32 {
	value, _ := e.Value("umask")
	if n, err := strconv.ParseUint(value, 8, 9); err == nil {
		return uint32(n)
	}
	return 0o022
}

// espType is the type of an EFI system partition.
const espType = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"

// discoverable are the types of partitions that systemd mounts without an entry
// in /etc/fstab, with the places where it does so, of which the first one that is
// there counts.
var discoverable = []struct {
	kind string
	dirs []string
}{
	{"bc13c2ff-59e6-4262-a352-b275fd6f7172", []string{"/boot"}}, // extended boot loader partition
	{espType, []string{"/efi", "/boot", "/boot/efi"}},
	{"8484680c-9521-48c6-9c11-b0720656f69e", []string{"/usr"}}, // of amd64
	{"b0e01050-ee5f-4390-949a-9101b17104e9", []string{"/usr"}}, // of arm64
	{"4d21b016-b534-45c2-a9fb-5c16e091fd2d", []string{"/var"}},
	{"7ec6f557-3bc5-4aca-b293-16ef5df639d1", []string{"/var/tmp"}},
	{"933ac7e1-2eb4-4f13-b844-0e14e2aef915", []string{"/home"}},
	{"3b8f8425-20e0-4f3b-907f-1a25a76f98e8", []string{"/srv"}},
}

// discover returns the volumes that are mounted for their types, beside those that
// are mounted already. A type may have several places, of which Open takes the
// first that is free.
func discover(all []volume, root volume, named []mount) []mount {
	var list []mount
	for _, d := range discoverable {
		i := slices.IndexFunc(all, func(v volume) bool { return v.kind == d.kind && !v.hidden })
		if i < 0 || all[i].start == root.start || slices.ContainsFunc(named, func(m mount) bool { return m.start == all[i].start }) {
			continue
		}
		for _, dir := range d.dirs {
			if !slices.ContainsFunc(named, func(m mount) bool { return m.dir == dir }) {
				list = append(list, mount{volume: all[i], dir: dir, auto: true, umask: 0o077})
			}
		}
	}
	return list
}
