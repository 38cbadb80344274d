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

// Problems returns what the host lacks to write the formats with the boot mode
// of an Op. It starts nothing and is cheap.
func (t Table) Problems(names []string, boot string) []platforms.Problem {
	return t.problems(names, boot, true)
}

// ProblemsFromDisk is Problems for a layer that has a disk of its own.
func (t Table) ProblemsFromDisk(names []string) []platforms.Problem {
	return t.problems(names, "", false)
}

// FromFiles reports whether one of the formats is made from files, and not from
// a disk.
func (t Table) FromFiles(names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		f, err := t.format(name)
		return err == nil && f.From != FromDisk
	})
}

// problems lists what is missing. make says that disks are made from trees.
func (t Table) problems(names []string, boot string, make bool) []platforms.Problem {
	var list []platforms.Problem
	add := func(what, pkg, need string) {
		p := platforms.Problem{What: what, Fix: "apt-get install --no-install-recommends " + pkg, Need: need}
		if !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	fromDisk := false
	for _, name := range names {
		f, err := t.format(name)
		if err != nil {
			list = append(list, platforms.Problem{What: err.Error(), Fix: "use one of " + strings.Join(t.Names(), ", "), Need: "export"})
			continue
		}
		fromDisk = fromDisk || f.From == FromDisk
		for _, tool := range f.Tools {
			if _, err := exec.LookPath(tool.Program); err != nil {
				add(tool.Program+" is not installed", tool.Package, "the format "+name)
			}
		}
	}
	if !fromDisk || !make {
		return list
	}
	if _, err := ext4.Tool("mke2fs"); err != nil {
		add("mke2fs is not installed", "e2fsprogs", "disks")
	}
	for _, t := range disk.Missing(boot) {
		add("GRUB for "+t.Format+" is not installed", "grub-common "+t.Package, "disks that boot")
	}
	return list
}
