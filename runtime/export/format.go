package export

import (
	"context"
	"fmt"

	"bake.build/bake/runtime/disk/drivers"
	"bake.build/bake/runtime/plan"
)

// From says what a format is made from.
type From string

// What formats are made from.
const (
	FromDisk   From = "disk"   // the raw disk with its partitions
	FromTree   From = "tree"   // the merged file tree
	FromLayers From = "layers" // the layers, one by one
)

// A Format is one kind of file that an artifact can have.
type Format struct {
	Name string // as definitions name it
	Ext  string // what follows the artifact's name in the file's name
	Doc  string // one sentence
	From From

	// RunsOn is what a disk of the format is for; nil means nothing in particular.
	RunsOn *drivers.Hypervisor

	// Streams says that the format holds the disk as a stream-optimized VMDK, so that its
	// compression is shared with others.
	Streams bool

	// Describes says that the format describes a machine: "hardware", or "ovf" where it
	// takes options of OVF, too.
	Describes string

	// Tools are the programs that it needs, in addition to those of From.
	Tools []Tool

	// Write makes the file, or the directory, at out.
	Write func(ctx context.Context, j *Job, out string) error
}

// A Table is a list of formats, each with a name of its own.
type Table []Format

// Formats lists the formats that bake is built with.
func Formats() Table {
	return Table{
		raw, rawGzip, rawXZ, rawZstd, qcow2, vmdkStream, vmdkSparse, vdi, vhd, vhdDynamic, vhdx, gce,
		ova, ovfFolder, vmxFolder, boxVirtualBox, boxLibvirt, boxVMware, boxHyperV,
		tarPlain, tarZstd, tarGzip, squashfs, oci, docker,
	}
}

// Names returns the names of the formats, in their order.
func (t Table) Names() []string {
	names := make([]string, len(t))
	for i, f := range t {
		names[i] = f.Name
	}
	return names
}

func (t Table) format(name string) (Format, error) {
	for _, f := range t {
		if f.Name == name {
			return f, nil
		}
	}
	return Format{}, fmt.Errorf("unknown format %q", name)
}

func (t Table) formats(names []string) ([]Format, error) {
	var list []Format
	for _, n := range names {
		f, err := t.format(n)
		if err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	return list, nil
}

// A Job is what formats are made from, in one Run. Formats are written at the
// same time: its methods are safe for concurrent use.
type Job struct {
	op       *Op
	req      *Request
	id       [32]byte // what identifiers of images follow from
	disk     string   // the raw disk, for formats from it
	diskSize int64    // bytes
	layout   *layoutOnce
	streams  *sharedStreams
	logger   *sharedLogger
}

// fileName is the name of the format's file.
func (j *Job) fileName(f Format) string { return j.op.Name + f.Ext }

// Disk returns the path of the raw disk, for formats from it, which do not
// change it, and the disk's size in bytes.
func (j *Job) Disk() (path string, size int64) { return j.disk, j.diskSize }

// Tree calls use with the merged file tree, as platforms.Treer does.
func (j *Job) Tree(ctx context.Context, use func(dir string) error) error {
	return j.req.Tree(ctx, use)
}

// Derive returns bytes that follow from the key of the export and a name. A format that has
// identifiers derives them by its own name, so that no two files share one.
func (j *Job) Derive(name string) [32]byte {
	return plan.Preimage{{Name: "seed", Value: string(j.id[:])}, {Name: "use", Value: name}}.Key()
}
