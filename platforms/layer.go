package platforms

import "context"

// A Layer is one committed state of a machine's disk.
type Layer struct {
	Key string // hex; unique among all layers
	Dir string // absolute path of what Import or Commit filled, read-only; "" for a remote layer
	Ref string // what Import or Commit returned
	Traits
}

// Remote reports whether the platform keeps the layer. Such a layer holds all of
// the layers below it, so that it is a chain of its own.
func (l Layer) Remote() bool { return l.Dir == "" }

// Traits are what a layer is, whatever steps have put into it. A driver says so when
// it makes the layer; it is recorded with it.
type Traits struct {
	Arch string `json:"arch,omitempty"` // of its programs, as Go names it; "" where nobody knows

	// Boot is how a machine on the layer starts: "bios", "uefi" or "bios+uefi". It is
	// "" for a file tree, which gets what boots it with its disk.
	Boot string `json:"boot,omitempty"`
}

// Or returns t with what it lacks taken from other.
func (t Traits) Or(other Traits) Traits {
	if t.Arch == "" {
		t.Arch = other.Arch
	}
	if t.Boot == "" {
		t.Boot = other.Boot
	}
	return t
}

// A Describer is a Driver that knows what its layers will be before there are any.
type Describer interface {
	// Describe returns the traits of the layers of a chain that begins with o, whose
	// pin is set, as far as they are known without making one.
	Describe(ctx context.Context, o Origin) (Traits, error)
}

// A State is a state of a machine that could become a layer.
type State struct {
	Key    string // of the layer, hex
	Name   string // of its step, for users
	Dir    string // an empty directory on the store's file system; "" where the platform keeps the layer
	Needed bool   // something else than the next step in this machine needs the layer
}

// Made is what Import or Commit has made.
type Made struct {
	Ref string // the driver's own reference, which may be empty for a layer with a directory
	Traits

	// Dropped says that the state was not worth a layer, so that there is none. A
	// state that is needed always becomes one, and so does any that other layers lie
	// on: only remote layers, which hold what is below them, can do without.
	Dropped bool
}

// RemoteLayers is a Driver whose platform keeps the layers of its steps, where others
// find them by their keys. Its machines commit to the platform and to no directory.
// The first layer of a chain is in the store as on other platforms, unless the driver is a
// RemoteImporter.
type RemoteLayers interface {
	// FindLayers returns those of the layers that the platform has, by their keys.
	FindLayers(ctx context.Context, keys []string) (map[string]Layer, error)
}

// A RemoteImporter is a RemoteLayers whose platform keeps the first layers of some chains
// as well: those that are more than a reference to what was there before. They are found
// by their keys as all others are, and are made again when they are gone.
type RemoteImporter interface {
	RemoteLayers

	// KeepsOrigin reports whether the platform keeps the first layer of chains that
	// begin with origins of the kind.
	KeepsOrigin(kind string) bool

	// ImportRemote is Import for such a layer, which s names. s has no directory.
	ImportRemote(ctx context.Context, o Origin, s State, out Logger) (Made, error)
}
