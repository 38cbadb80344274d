package platforms

import (
	"path/filepath"
	"slices"
	"strings"
)

// A DiskFormat is a kind of file that holds a disk. Writers may know several
// variants of one: "vmdk-sparse" is the variant sparse of "vmdk", which readers
// need not tell from others.
type DiskFormat struct {
	Name     string   // as definitions name it
	QEMU     string   // as QEMU and qemu-img do
	Exts     []string // the ends of files' names, in lower case
	ReadOnly bool     // it is read, and neither written nor launched

	// Machine says that it describes a machine beside holding the disk. QEMU does not
	// read it.
	Machine bool
	Folder  bool // it is a folder, in which the file with one of Exts says the rest
}

// DiskFormats is the table of the formats that bake knows, the quickest to read
// first.
func DiskFormats() []DiskFormat {
	return []DiskFormat{
		{Name: "raw", QEMU: "raw", Exts: []string{".raw", ".img"}},
		{Name: "qcow2", QEMU: "qcow2", Exts: []string{".qcow2"}},
		{Name: "vmdk", QEMU: "vmdk", Exts: []string{".vmdk"}},
		{Name: "vdi", QEMU: "vdi", Exts: []string{".vdi"}},
		{Name: "vhd", QEMU: "vpc", Exts: []string{".vhd"}},
		{Name: "vhdx", QEMU: "vhdx", Exts: []string{".vhdx"}},
		{Name: "ova", Exts: []string{".ova"}, Machine: true},
		{Name: "ovf", Exts: []string{".ovf"}, Machine: true, Folder: true},
		{Name: "vmx", Exts: []string{".vmx", ".vmwarevm"}, Machine: true, Folder: true},
		{Name: "vagrant", Exts: []string{".box"}, Machine: true}, // "vagrant-libvirt" is one for a provider
	}
}

// DiskFormatNamed returns the format with the name, or of which the name is a
// variant.
func DiskFormatNamed(name string) (DiskFormat, bool) {
	base, _, _ := strings.Cut(name, "-")
	return findFormat(func(f DiskFormat) bool { return f.Name == base })
}

// DiskFormatOf returns the format that the name of a file tells.
func DiskFormatOf(file string) (DiskFormat, bool) {
	ext := strings.ToLower(filepath.Ext(file))
	return findFormat(func(f DiskFormat) bool { return slices.Contains(f.Exts, ext) })
}

func findFormat(is func(DiskFormat) bool) (DiskFormat, bool) {
	all := DiskFormats()
	if i := slices.IndexFunc(all, is); i >= 0 {
		return all[i], true
	}
	return DiskFormat{}, false
}

// DiskExts lists the ends of names of the formats that a machine starts from.
func DiskExts() []string {
	var all []string
	for _, f := range DiskFormats() {
		if !f.ReadOnly {
			all = append(all, f.Exts...)
		}
	}
	return all
}
