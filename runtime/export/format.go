package export

import (
	"context"
	"fmt"

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

	// tools are the programs that it needs, in addition to those of From.
	tools []tool

	// write makes the file, or the directory, at out.
	write func(ctx context.Context, j *job, out string) error
}

// Formats lists the formats.
func Formats() []Format {
	return []Format{
		raw, qcow2, vmdk, vmdkSparse, vdi, vhd, vhdDynamic,
		tarPlain, tarZstd, tarGzip, squashfs, oci, docker,
	}
}

func format(name string) (Format, error) {
	for _, f := range Formats() {
		if f.Name == name {
			return f, nil
		}
	}
	return Format{}, fmt.Errorf("unknown format %q", name)
}

func formats(names []string) ([]Format, error) {
	var list []Format
	for _, n := range names {
		f, err := format(n)
		if err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	return list, nil
}

// A job is what formats are made from, in one Run.
type job struct {
	op   *Op
	req  *Request
	seed [32]byte // what identifiers follow from

	disk     string // the raw disk, for formats from it
	diskSize int64
	layout   *layoutOnce
	sink     *sharedSink
}

// fileName is the name of the format's file.
func (j *job) fileName(f Format) string { return j.op.Name + f.Ext }

// derive returns bytes that follow from the layer and a name.
func (j *job) derive(name string) [32]byte {
	return plan.Preimage{{Name: "seed", Value: string(j.seed[:])}, {Name: "use", Value: name}}.Key()
}
