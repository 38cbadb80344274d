package export

import (
	"encoding/json"

	"bake.build/bake/runtime/plan"
)

// A Publish has the disk of a layer registered as an image of a platform.
type Publish struct {
	Name       string          `key:"name"`
	Target     string          `key:"target"`  // plan.Platform.ID of the platform
	Options    json.RawMessage `key:"options"` // that the platform declares
	Size       int64           `key:"size"`    // as in Disk, like the rest
	Boot       string          `key:"boot"`
	KernelArgs string          `key:"kernel_args"`
	Writer     int             `key:"writer"`
}

// Kind implements plan.Op.
func (*Publish) Kind() string { return "publish" }

// Publishes implements plan.Publication.
func (*Publish) Publishes() {}

// Disk returns the Op that makes the disk.
func (p *Publish) Disk() *Disk {
	return &Disk{Size: p.Size, Boot: p.Boot, KernelArgs: p.KernelArgs, Writer: p.Writer}
}

// Content names the bytes of the disk that is registered.
func (p *Publish) Content(layer plan.Key) (plan.Key, error) { return p.Disk().Content(layer) }
