package disk

import (
	"fmt"

	"bake.build/bake/runtime/disk/gpt"
)

const (
	mib = int64(1) << 20
	gib = int64(1) << 30

	biosSize = 1 * mib
	espSize  = 32 * mib
	minRoot  = 16 * mib

	rootNumber = 1
	biosNumber = 14
	espNumber  = 15
)

// What the identifiers of partitions follow from, besides Options.ID.
const (
	rootPartition = "partition root"
	espPartition  = "partition esp"
)

// A span is a run of bytes on the disk.
type span struct{ off, size int64 }

// A layout says where the partitions lie. A span of size 0 is not there.
type layout struct {
	size            int64
	bios, esp, root span
}

// overhead is what of a disk lies outside of the root file system: the other
// partitions and a MiB at each end for the two copies of the partition table.
func (o *Options) overhead() int64 {
	n := 2 * mib
	if o.bios() {
		n += biosSize
	}
	if o.uefi() {
		n += espSize
	}
	return n
}

func (o *Options) layout(size int64) (layout, error) {
	l := layout{size: size}
	at := mib
	if o.bios() {
		l.bios = span{at, biosSize}
		at += biosSize
	}
	if o.uefi() {
		l.esp = span{at, espSize}
		at += espSize
	}
	l.root = span{at, size - mib - at}
	if l.root.size < minRoot {
		return l, fmt.Errorf("a disk of %s is too small: give size = %q or more", Size(size), Size(o.overhead()+minRoot))
	}
	return l, nil
}

// sensible returns the size of a disk for a root file system that holds need
// bytes: a quarter more, room for the journal and for logs, in whole GiB, since
// that is what clouds count volumes in.
func (o *Options) sensible(need int64) int64 {
	return roundUp(o.overhead()+need+need/4+192*mib, gib)
}

// enough returns a size to suggest in place of one that was too small.
func (o *Options) enough(need, size int64) int64 {
	if n := o.sensible(need); n > size {
		return n
	}
	return roundUp(size+gib, gib)
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }

// Size writes bytes as definitions do, such as "4G" or "512M".
func Size(n int64) string {
	switch {
	case n%gib == 0:
		return fmt.Sprintf("%dG", n/gib)
	case n%mib == 0:
		return fmt.Sprintf("%dM", n/mib)
	}
	return fmt.Sprint(n)
}

func (o *Options) rootID() gpt.GUID { return gpt.DeriveGUID(o.ID, rootPartition) }
func (o *Options) espID() gpt.GUID  { return gpt.DeriveGUID(o.ID, espPartition) }

func (o *Options) table(l layout) *gpt.Table {
	t := &gpt.Table{Disk: gpt.DeriveGUID(o.ID, "disk"), Sectors: uint64(l.size / gpt.SectorSize)}
	add := func(number int, s span, typ gpt.GUID, id, name string) {
		if s.size == 0 {
			return
		}
		t.Partitions = append(t.Partitions, gpt.Partition{
			Number: number, Type: typ, ID: gpt.DeriveGUID(o.ID, id), Name: name,
			First: uint64(s.off / gpt.SectorSize), Last: uint64((s.off+s.size)/gpt.SectorSize - 1),
		})
	}
	rootType := gpt.RootAMD64
	if o.Arch == "arm64" {
		rootType = gpt.RootARM64
	}
	add(rootNumber, l.root, rootType, rootPartition, "root")
	add(biosNumber, l.bios, gpt.BIOSBoot, "partition bios", "bios")
	add(espNumber, l.esp, gpt.ESP, espPartition, "esp")
	return t
}
