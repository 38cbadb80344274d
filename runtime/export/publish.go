package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"

	"bake.build/bake/runtime/disk"
	"bake.build/bake/runtime/plan"
)

// A Publish has the disk of a layer registered as an image of a platform.
type Publish struct {
	Name       string          `key:"name"`
	Target     string          `key:"target"`  // plan.Platform.ID of the platform
	Options    json.RawMessage `key:"options"` // that the platform declares
	Size       int64           `key:"size"`    // as in Op, like the rest
	Boot       string          `key:"boot"`
	KernelArgs string          `key:"kernel_args"`
	Writer     int             `key:"writer"`
}

// Kind implements plan.Op.
func (*Publish) Kind() string { return "publish" }

// Publishes implements plan.Publication.
func (*Publish) Publishes() {}

// Disk returns the Op that writes the disk.
func (p *Publish) Disk() *Op {
	return &Op{Name: p.Name, Formats: []string{raw.Name}, Size: p.Size, Boot: p.Boot, KernelArgs: p.KernelArgs, Writer: p.Writer}
}

// Content names the bytes of the disk that Disk makes of a layer.
func (p *Publish) Content(layer plan.Key) (plan.Key, error) { return p.Disk().content(layer) }

// content names the bytes of the disk that an Op makes of a layer.
func (o *Op) content(layer plan.Key) (plan.Key, error) {
	op := *o
	op.Name = ""
	fields, err := plan.Encode(&op)
	if err != nil {
		return plan.Key{}, err
	}
	return append(fields, plan.Field{Name: "layer", Value: layer.String()}).Key(), nil
}

// BootOf returns how the disk of an Op boots on machines of an architecture:
// "bios+uefi", "bios", "uefi" or "none".
func BootOf(op *Op, arch string) string {
	if b := bootMode(op.Boot, arch); b != "" {
		return b
	}
	return disk.BootBoth
}

// WriteDisk writes the disk of r in a format to the new file dst, and for the time of
// that a raw one beside it. r needs no OutDir, and no Key: the identifiers of the disk
// follow from what Publish.Content says of it.
func WriteDisk(ctx context.Context, r Request, format, dst string) (err error) {
	if r.Arch == "" {
		r.Arch = runtime.GOARCH
	}
	list, err := r.Formats.formats(r.Op.Formats)
	if err != nil {
		return err
	}
	if n := len(r.Layers); n > 0 {
		layer, err := plan.ParseKey(r.Layers[n-1].Key)
		if err != nil {
			return err
		}
		if r.Key, err = r.Op.content(layer); err != nil {
			return err
		}
	}
	j := newJob(&r, "", list)
	j.disk = dst
	if format != raw.Name {
		j.disk += raw.Ext
		defer func() { err = errors.Join(err, os.RemoveAll(j.disk)) }()
	}
	if err := j.makeDisk(ctx); err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	if format == raw.Name {
		return nil
	}
	f, err := r.Formats.formats([]string{format})
	if err != nil {
		return err
	}
	if err := f[0].Write(ctx, j, dst); err != nil {
		return fmt.Errorf("%s: %w", format, err)
	}
	return nil
}
