package publish

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"bake.build/bake/platforms"
)

// Retention is the option that says how many images stay. Drivers embed it in their
// options of export().
type Retention struct {
	Keep int `bake:"keep" json:"keep,omitempty" help:"How many images of this artifact are kept in each place, such as a region: older ones of this project are removed with their disks, but for those in use, and so are all of them in a place that the definition does not name any more." default:"all"`
}

// Check says what is wrong with the option in itself.
func (r Retention) Check() error {
	if r.Keep < 0 {
		return fmt.Errorf("keep: %d is less than zero", r.Keep)
	}
	return nil
}

// CheckProject says what is wrong with the option for a project of the identity, which
// may be "".
func (r Retention) CheckProject(project string) error {
	if r.Keep > 0 && project == "" {
		return &platforms.OptionError{Err: errors.New("keep: this project has no name, which its images are told from those of others by: write one into the file BAKE_ROOT, or set BAKE_PROJECT")}
	}
	return nil
}

// Identify returns what names an image: its disk, and all that is said of it once and for
// all when it is made, which fixed holds, a struct. Equal images of two projects are two,
// since each has its own way of ending. kind names the platform's images and the version of
// how they are made.
func Identify(kind, project string, of platforms.Publication, fixed any) (string, error) {
	text, err := json.Marshal(fixed)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, s := range []string{kind, project, of.Content, of.Arch, of.Boot, string(text)} {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// identityShown is how much of the identity is in names.
const identityShown = 12

// Name returns the name of an image that the definition does not name.
func Name(artifact, identity string) string { return artifact + "-" + identity[:identityShown] }
