package platforms

import (
	"encoding/json"
	"fmt"
	"reflect"
)

// A Spec declares a platform.
type Spec struct {
	Name    string // the constructor's name in definitions
	Doc     string // one paragraph for the reference
	Options []Option
	Origin  []Option // the options of source() on this platform

	// Boots says that its machines have a kernel and a disk of their own: they
	// can be restarted, a layer leaves as the disk that it is, and no machine
	// needs rights on this host.
	Boots bool

	// Publishes says that its driver is a Publisher, and Publication are the
	// options of export() there.
	Publishes   bool
	Publication []Option
	Takes       DiskUse // what disks its Publisher takes

	// CheckOptions, CheckOrigin and CheckPublication say what is wrong in themselves
	// with options, given as canonical JSON, so that a mistake is told at its line.
	CheckOptions, CheckOrigin, CheckPublication func(options json.RawMessage) error

	// New makes a driver from the canonical JSON of the constructor's options.
	New func(options json.RawMessage, h Host) (Driver, error)
}

// Declare makes the Spec of a platform whose constructor's options are the
// fields of O and whose source() options are the fields of S, both structs.
// See Options for the tags. Where a struct is an OptionChecker, its options are
// checked when they are given. It panics on a struct that cannot be declared.
func Declare[O, S any](name, doc string, open func(options O, h Host) (Driver, error)) Spec {
	return Spec{
		Name:    name,
		Doc:     doc,
		Options: Options(reflect.TypeFor[O]()),
		Origin:  Options(reflect.TypeFor[S]()),

		CheckOptions: checker[O](), CheckOrigin: checker[S](),

		New: func(options json.RawMessage, h Host) (Driver, error) {
			var o O
			if len(options) > 0 {
				if err := json.Unmarshal(options, &o); err != nil {
					return nil, fmt.Errorf("%s: options: %w", name, err)
				}
			}
			return open(o, h)
		},
	}
}

// An OptionChecker is a struct of options that knows what is wrong with them in
// themselves.
type OptionChecker interface{ Check() error }

// checker returns what checks the options of the struct T.
func checker[T any]() func(json.RawMessage) error {
	return func(options json.RawMessage) error {
		var o T
		c, ok := any(&o).(OptionChecker)
		if !ok {
			return nil
		}
		if len(options) > 0 {
			if err := json.Unmarshal(options, &o); err != nil {
				return fmt.Errorf("options: %w", err)
			}
		}
		return c.Check()
	}
}
