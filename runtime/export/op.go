package export

// An Op writes a layer as an artifact.
type Op struct {
	Name        string   `key:"name"`
	Formats     []string `key:"formats"`
	Size        int64    `key:"size"` // bytes; 0 means as needed
	Boot        string   `key:"boot"`
	KernelArgs  string   `key:"kernel_args"`
	Compression string   `key:"compression"` // "zstd", "zlib" or "none"; "" means what suits the format
}

// Kind implements plan.Op.
func (*Op) Kind() string { return "export" }
