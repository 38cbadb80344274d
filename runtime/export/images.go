package export

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"time"
)

// An Image is an image that a platform has, as the manifest of its artifact lists it.
type Image struct {
	Platform string            `json:"platform"`          // what the definition calls the platform
	ID       string            `json:"id"`                // the platform's name for the image, such as ami-…
	Place    string            `json:"place,omitempty"`   // where it is, such as a region
	Name     string            `json:"name,omitempty"`    // as users find it there
	Created  *time.Time        `json:"created,omitempty"` // by the platform
	Tags     map[string]string `json:"tags,omitempty"`
}

// WriteImages writes the manifest of an artifact that was registered on a platform,
// m.Images, to dir. One that says the same already is left alone, whenever it was
// written.
func WriteImages(ctx context.Context, dir string, m *Manifest) (err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if old, err := ReadManifest(dir); err == nil && sameImages(old, m) {
		return nil
	}
	m.Schema = Schema
	s, err := newStaging(ctx, dir, func() {})
	if err != nil {
		return err
	}
	return errors.Join(s.publish(dir, m), s.remove())
}

// sameImages reports whether both manifests say the same but for when they were
// written.
func sameImages(a, b *Manifest) bool {
	x, y := *a, *b
	for _, m := range []*Manifest{&x, &y} {
		m.Schema, m.Started, m.Finished = "", time.Time{}, time.Time{}
		if len(m.Files) == 0 {
			m.Files = nil
		}
	}
	left, err := x.encode()
	if err != nil {
		return false
	}
	right, err := y.encode()
	return err == nil && bytes.Equal(left, right)
}
