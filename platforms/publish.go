package platforms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"
)

// A Publisher registers disks as images of its platform.
type Publisher interface {
	// CheckPublish returns what stands in the way of a publication as far as that
	// can be known without making anything. It may ask the platform.
	CheckPublish(ctx context.Context, p Publication) error

	// Published returns the images that p asks for when all of them are as it
	// wants them, and otherwise says in a few words why they do not.
	Published(ctx context.Context, p Publication) (found []Registered, why string, err error)

	// Publish registers the image. What an earlier call has begun and not finished is
	// taken over.
	Publish(ctx context.Context, p Publication, from ImageSource, out Logger) ([]Registered, error)
}

// A FormatTaker is a Publisher whose images may have one of several formats of disk.
type FormatTaker interface {
	// TakesFormat returns the format of the disk that a publication with these options
	// takes, in place of what the Spec says.
	TakesFormat(options json.RawMessage) (format string, err error)
}

// An ImageSource is what an image is made of: one of the two.
type ImageSource struct {
	Disk  string // path of a disk in the format that the platform's Spec, or a FormatTaker, says
	Layer string // Layer.Ref of a layer of the driver's own, whose disk does not come to this host
}

// A Publication is one artifact as it is registered on a platform.
type Publication struct {
	Name    string          // the artifact's
	Content string          // hex; names the bytes of the disk
	Key     string          // hex; names all that the definition says of the image
	Arch    string          // of the machines, as Go names it, or "" for a layer of the driver's own, which knows
	Boot    string          // "bios", "uefi", "bios+uefi", or "" when the disk knows better
	Options json.RawMessage // canonical JSON of the platform's options of export()
}

// Decode decodes the options into those of a driver, and checks them: what is wrong in them
// is an *OptionError.
func (p Publication) Decode(options OptionChecker) error {
	if len(p.Options) > 0 {
		if err := json.Unmarshal(p.Options, options); err != nil {
			return fmt.Errorf("decode the options of %s: %w", p.Name, err)
		}
	}
	if err := options.Check(); err != nil {
		return &OptionError{Err: err}
	}
	return nil
}

// A Registered is an image on a platform.
type Registered struct {
	ID    string // the platform's name for it
	Place string // where it is, such as a region; "" where there is one place only
	Name  string // as users find it on the platform

	Created time.Time         // by the platform; zero when it does not say
	Tags    map[string]string // as the platform has them
}

// A GarbageCollector removes what dead builds have left on its platform.
type GarbageCollector interface {
	// Account returns the account that the driver works in, as in
	// Resource.Account. What is in another one cannot be seen, and is not gone.
	Account(ctx context.Context) (string, error)

	// Collect removes a resource and says what became of it.
	Collect(ctx context.Context, r Resource) (Collected, error)

	// Orphans finds by tags alone what builds that began before a time have
	// made and neither finished nor removed. It may hold what a build that still
	// runs on another host is using: the caller chooses the time. What it returns
	// beside an error was found; places that it may not look at are Unseen.
	Orphans(ctx context.Context, before time.Time) ([]Resource, error)
}

// A Collected says what became of a resource that a GarbageCollector was to remove.
type Collected struct {
	Removed bool   // it was there, and is gone
	Kept    string // why it was left alone for good, such as "build x has taken it over"; "" where it was not
}

// Unseen is an error that says that a place of a platform could not be looked at.
// Work on other places goes on.
type Unseen struct {
	Place string // such as a region
	Err   error
}

// Error implements error.
func (e *Unseen) Error() string { return e.Place + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Unseen) Unwrap() error { return e.Err }

// SplitUnseen separates the Unseen places among joined errors from the rest.
func SplitUnseen(err error) (unseen []*Unseen, rest error) {
	if u, ok := err.(*Unseen); ok {
		return []*Unseen{u}, nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil, err
	}
	var others []error
	for _, e := range joined.Unwrap() {
		u, other := SplitUnseen(e)
		unseen, others = append(unseen, u...), append(others, other)
	}
	return unseen, errors.Join(others...)
}

// A Puller reads images of its platform back.
type Puller interface {
	// Pull writes the disk of an image to the new file dst, as a raw image with
	// holes.
	Pull(ctx context.Context, image, dst string, out Logger) error
}

// A DiskUse says what a disk is made for.
type DiskUse struct {
	Format     string // in the table of formats, such as "raw" or "vmdk"
	Hypervisor string // in the table of package drivers, such as "VMware"; "" means none that is known
}

// DeclarePublication declares the options of export() on a platform whose driver
// is a Publisher: the fields of T, a struct. See Options for the tags. Its disks are
// made as it takes them.
func DeclarePublication[T any](s *Spec, takes DiskUse) {
	s.Takes = takes
	s.Publishes, s.Publication, s.CheckPublication = true, Options(reflect.TypeFor[T]()), checker[T]()
}
