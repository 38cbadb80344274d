package platforms

import (
	"context"
	"encoding/json"
	"reflect"
	"time"
)

// A Publisher registers disks as images of its platform.
type Publisher interface {
	// CheckPublish returns what stands in the way of a publication as far as that
	// can be known without making anything. It may ask the platform.
	CheckPublish(ctx context.Context, p Publication) error

	// Published returns the images that p asks for when all of them stand as it
	// wants them, and otherwise says in a few words why they do not.
	Published(ctx context.Context, p Publication) (found []Registered, why string, err error)

	// Publish registers the raw image disk. What an earlier call has begun and
	// not finished is taken over.
	Publish(ctx context.Context, p Publication, disk string, out Sink) ([]Registered, error)
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

// A Registered is an image on a platform.
type Registered struct {
	ID    string // the platform's name for it
	Place string // where it is, such as a region; "" where there is one place only
	Name  string // as users find it on the platform
}

// A Collector removes what dead builds have left on its platform.
type Collector interface {
	// Collect removes a resource. One that is not there is no error.
	Collect(ctx context.Context, r Resource) error

	// Leftovers finds by tags alone what builds that began before a time have
	// made and neither finished nor removed. It may hold what a build that still
	// runs on another host is using: the caller chooses the time.
	Leftovers(ctx context.Context, before time.Time) ([]Resource, error)
}

// A Puller reads images of its platform back.
type Puller interface {
	// Pull writes the disk of an image to the new file dst, as a raw image with
	// holes.
	Pull(ctx context.Context, image, dst string, out Sink) error
}

// DeclarePublication declares the options of export() on a platform whose driver
// is a Publisher: the fields of T, a struct. See Options for the tags.
func DeclarePublication[T any](s *Spec) {
	s.Publishes, s.Publication = true, Options(reflect.TypeFor[T]())
}
