package export

import "encoding/json"

// Writer is the version of what writes formats. It is part of an artifact's key, so
// that artifacts are written again when it rises: whenever the same layer gives other
// bytes than before.
const Writer = 3

// An Op writes a layer as an artifact.
type Op struct {
	Name        string   `key:"name"`
	Formats     []string `key:"formats"`
	Size        int64    `key:"size"` // bytes; 0 means as needed
	Boot        string   `key:"boot"`
	KernelArgs  string   `key:"kernel_args"`
	Disk        int      `key:"disk"`        // which of the machine's disks, from 1; 0 means 1
	Compression string   `key:"compression"` // "zstd", "zlib" or "none"; "" means what suits the format
	Writer      int      `key:"writer"`      // Writer

	// Config is the canonical JSON of a Config, for the formats oci and docker.
	Config json.RawMessage `key:"config"`

	// Hardware is the JSON of a hardware.Options, and OVF that of an ovf.Options, for
	// formats with a descriptor.
	Hardware json.RawMessage `key:"hardware"`
	OVF      json.RawMessage `key:"ovf"`

	// Certificate is that, as PEM, which the formats ova and ovf are signed with, and
	// SigningKey the name of the secret that is its private key. Which key it is follows
	// from the certificate.
	Certificate string `key:"certificate"`
	SigningKey  string `key:"-"`
}

// SecretNames returns the names of the secrets that writing the files takes.
func (o *Op) SecretNames() []string {
	if o.SigningKey == "" {
		return nil
	}
	return []string{o.SigningKey}
}

// Kind implements plan.Op.
func (*Op) Kind() string { return "export" }

// From returns the Op that makes the disk which o's files are written from.
func (o *Op) From() *Disk {
	return &Disk{Size: o.Size, Boot: o.Boot, KernelArgs: o.KernelArgs, Disk: o.Disk, Writer: DiskWriter}
}
