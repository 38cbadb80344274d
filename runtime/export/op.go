// Package export writes a layer as an image, one file per format.
package export

// An Op writes a layer as an artifact.
type Op struct {
	Name        string   `key:"name"`
	Formats     []string `key:"formats"`
	Size        int64    `key:"size"` // bytes; 0 means as needed
	Boot        string   `key:"boot"`
	KernelArgs  string   `key:"kernel_args"`
	Compression string   `key:"compression"` // "" means what suits the format
}

// Kind implements plan.Op.
func (*Op) Kind() string { return "export" }

// A Format is one kind of file that an artifact can have.
type Format struct {
	Name string
	Doc  string // one sentence
}

// Formats lists the formats.
func Formats() []Format {
	return []Format{{"raw", ""}, {"qcow2", ""}}
}
