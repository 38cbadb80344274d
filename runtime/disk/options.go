package disk

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"bake.build/bake/runtime/disk/drivers"
	"bake.build/bake/runtime/disk/grub"
)

// The firmware that a disk can be made to boot by.
const (
	BootBoth = "bios+uefi"
	BootBIOS = "bios"
	BootUEFI = "uefi"
	BootNone = "none"
)

// Boots lists the values of Options.Boot.
func Boots() []string { return []string{BootBoth, BootBIOS, BootUEFI, BootNone} }

// Options of a disk.
type Options struct {
	Size       int64     // bytes; rounded up to whole MiB; 0 means the content and sensible room, in whole GiB
	Boot       string    // one of Boots; "" means bios+uefi, or uefi where there is no BIOS
	KernelArgs string    // appended to the kernel's command line
	Seed       [32]byte  // what all checksums follow from, and where names lie in directories, such as the key of the lowest layer
	ID         [32]byte  // what all identifiers follow from, such as the key of the export; zero means Seed
	Epoch      time.Time // when the file system was made; zero means the newest modification time of the tree
	Arch       string    // "amd64" or "arm64"
	FS         string    // "ext4", which "" means too
	CacheDir   string    // where GRUB's images are kept; "" keeps none

	// Layers are the directories of an overlay that the tree is the merged view of,
	// from the lowest to the highest. What lies in one of them is placed on the
	// disk after what lies in those below, so that a tree with one layer more, or
	// another last one, has all else in the same places. Without them the tree is
	// placed as one layer.
	Layers []string

	// Note, if not nil, is told what of the tree the disk does not take as it is, and
	// Warn what will not work.
	Note, Warn func(message string)

	// Progress, if not nil, is told how many bytes of content are written.
	Progress func(done, total int64)
}

// A Use is a hypervisor that a disk will run on, and the format in which it goes there.
type Use struct {
	Format     string
	Hypervisor drivers.Hypervisor
}

func (o *Options) bios() bool { return o.Boot == BootBoth || o.Boot == BootBIOS }
func (o *Options) uefi() bool { return o.Boot == BootBoth || o.Boot == BootUEFI }

// complete fills in defaults and checks.
func (o *Options) complete() error {
	if o.ID == ([32]byte{}) {
		o.ID = o.Seed
	}
	if o.Arch == "" {
		o.Arch = "amd64"
	}
	if o.Arch != "amd64" && o.Arch != "arm64" {
		return fmt.Errorf("architecture %q: bootable disks are for amd64 and arm64", o.Arch)
	}
	if o.Boot == "" {
		if o.Boot = BootBoth; o.Arch == "arm64" {
			o.Boot = BootUEFI
		}
	}
	if !slices.Contains(Boots(), o.Boot) {
		return fmt.Errorf("boot = %q: want one of %s", o.Boot, strings.Join(Boots(), ", "))
	}
	if o.Arch == "arm64" && o.bios() {
		return fmt.Errorf("boot = %q: arm64 machines have no BIOS; use boot = \"uefi\"", o.Boot)
	}
	if o.Note == nil {
		o.Note = func(string) {}
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	if o.FS != "" && o.FS != "ext4" {
		return fmt.Errorf("file system %q: only ext4 is supported", o.FS)
	}
	if o.Size < 0 {
		return fmt.Errorf("size = %d is negative", o.Size)
	}
	if _, err := grub.Words(o.KernelArgs); err != nil {
		return err
	}
	return nil
}

// targets returns what GRUB images a disk needs.
func (o *Options) targets() []grub.Target {
	var t []grub.Target
	if o.bios() {
		t = append(t, grub.BIOS)
	}
	if o.uefi() && o.Arch == "arm64" {
		t = append(t, grub.EFIARM64)
	} else if o.uefi() {
		t = append(t, grub.EFIAMD64)
	}
	return t
}

// Missing returns the GRUB images that a disk with the boot mode needs and this
// host cannot make.
func Missing(boot string) []grub.Target {
	o := Options{Boot: boot, Arch: runtime.GOARCH}
	if o.complete() != nil {
		return nil // Build says what is wrong
	}
	return slices.DeleteFunc(o.targets(), grub.Target.Installed)
}
