package export

import (
	"os/exec"
	"slices"
	"strings"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/disk"
	"bake.build/bake/runtime/disk/ext4"
)

// A Tool is a program of the host and Debian's package that has it.
type Tool struct{ Program, Package string }

var (
	qemuImg    = Tool{"qemu-img", "qemu-utils"}
	mksquashfs = Tool{"mksquashfs", "squashfs-tools"}
)

// Problems returns what the host lacks to write the formats. It starts nothing and is
// cheap.
func (t Table) Problems(names []string) []platforms.Problem {
	var list problems
	for _, name := range names {
		f, err := t.format(name)
		if err != nil {
			list = append(list, platforms.Problem{What: err.Error(), Fix: "use one of " + strings.Join(t.Names(), ", "), Need: "export"})
			continue
		}
		for _, tool := range f.Tools {
			if _, err := exec.LookPath(tool.Program); err != nil {
				list.add(tool.Program+" is not installed", tool.Package, "the format "+name)
			}
		}
	}
	return list
}

// DiskProblems returns what the host lacks to make disks of file trees with the boot
// mode of a Disk.
func DiskProblems(boot string) []platforms.Problem {
	var list problems
	if _, err := ext4.Tool("mke2fs"); err != nil {
		list.add("mke2fs is not installed", "e2fsprogs", "disks")
	}
	for _, t := range disk.Missing(boot) {
		list.add("GRUB for "+t.Format+" is not installed", "grub-common "+t.Package, "disks that boot")
	}
	return list
}

// FromFiles reports whether one of the formats is made from files, and not from
// a disk.
func (t Table) FromFiles(names []string) bool {
	return t.from(names, func(f From) bool { return f != FromDisk })
}

// FromDisk reports whether one of the formats is made from a disk.
func (t Table) FromDisk(names []string) bool {
	return t.from(names, func(f From) bool { return f == FromDisk })
}

func (t Table) from(names []string, is func(From) bool) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		f, err := t.format(name)
		return err == nil && is(f.From)
	})
}

// problems names each once.
type problems []platforms.Problem

func (l *problems) add(what, pkg, need string) {
	p := platforms.Problem{What: what, Fix: "apt-get install --no-install-recommends " + pkg, Need: need}
	if !slices.Contains(*l, p) {
		*l = append(*l, p)
	}
}
