package platforms

import "encoding/json"

// An Origin is what a source starts from.
type Origin struct {
	// Kind is the option of source() that names the origin, such as "debian".
	Kind string

	// Options holds the options of source() as canonical JSON of the platform's
	// origin struct. Options that name local files are not in it: see Paths.
	Options json.RawMessage

	// Paths holds the absolute path of each option that names a local file or
	// directory, an artifact or a layer. Their contents are inputs of the plan,
	// their places are not.
	Paths map[string]string

	// Pin is the immutable identity that the origin resolved to; nil before.
	Pin *Pin
}

// Decode stores the options in v, a pointer to the platform's origin struct.
func (o Origin) Decode(v any) error {
	if len(o.Options) == 0 {
		return nil
	}
	return json.Unmarshal(o.Options, v)
}

// An OptionError is an error of Driver.Pin that says that options of the origin
// are wrong in themselves, whatever can be reached.
type OptionError struct{ Err error }

// Error implements error.
func (e *OptionError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *OptionError) Unwrap() error { return e.Err }

// A Pin is the immutable identity of a loose origin. It is kept in bake.lock.
type Pin struct {
	ID     string            `json:"id"`               // what is hashed, such as "sha256:…"
	Date   string            `json:"date,omitempty"`   // RFC 3339, when the pinned thing was made
	Detail map[string]string `json:"detail,omitempty"` // what the driver needs to get it again
}
