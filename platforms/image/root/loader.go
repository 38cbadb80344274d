package root

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// loaders are the names of boot loaders of removable media, by architecture (UEFI
// specification, 3.5.1.1).
var loaders = map[string]string{"amd64": "BOOTX64.EFI", "arm64": "BOOTAA64.EFI"}

// MissingLoader returns the path at which the firmware of any machine looks for a boot
// loader on a raw disk, where an EFI system partition of the disk has others and not
// that: such a disk boots with the variables of its own machine alone. It is "" for all
// other disks.
func MissingLoader(raw, arch string) (path string, err error) {
	name, ok := loaders[arch]
	if !ok {
		return "", nil
	}
	all, err := readVolumes(raw)
	if err != nil {
		return "", err
	}
	f, err := os.Open(raw)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	others := false
	for _, v := range all {
		if v.fs != "vfat" || v.kind != espType {
			continue
		}
		found, other, err := findLoader(io.NewSectionReader(f, v.start, v.size), name)
		if err != nil {
			return "", fmt.Errorf("%s: %w", v, err)
		}
		if found {
			return "", nil
		}
		others = others || other
	}
	if !others {
		return "", nil
	}
	return `\EFI\BOOT\` + name, nil
}

// findLoader looks for name in /EFI/BOOT of a FAT file system, and for any program
// below /EFI.
func findLoader(r *io.SectionReader, name string) (found, other bool, err error) {
	v, err := openFAT(r)
	if err != nil {
		return false, false, err
	}
	entries, err := v.rootDir()
	if err != nil {
		return false, false, err
	}
	err = v.walk(entries, "", 0, func(path string) {
		other = other || strings.HasPrefix(path, "/EFI/") && strings.HasSuffix(path, ".EFI")
		found = found || path == "/EFI/BOOT/"+name
	})
	return found, other, err
}

// walk calls see with the path of each file in upper case, to a depth at which
// firmware and installers have theirs.
func (v *fatVolume) walk(entries []fatEntry, at string, depth int, see func(path string)) error {
	for _, e := range entries {
		path := at + "/" + strings.ToUpper(e.name)
		if !e.dir {
			see(path)
			continue
		}
		if depth == 3 {
			continue
		}
		list, err := v.dir(e.first)
		if err != nil {
			return err
		}
		if err := v.walk(list, path, depth+1, see); err != nil {
			return err
		}
	}
	return nil
}
