package export

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"bake.build/bake/runtime/plan"
)

// An artifact that has tests lies beside its own directory until they have passed,
// so that nobody takes it for good; these end the names of the places.
const (
	UntestedSuffix = ".untested" // its tests have not ended
	FailedSuffix   = ".failed"   // one of its tests failed
)

// Suffixes are what no artifact's name may end with.
func Suffixes() []string { return []string{UntestedSuffix, FailedSuffix} }

// Find is Current of an artifact that may wait for its tests: dir, or the place
// beside it where the artifact is.
func Find(dir string, key plan.Key, files plan.FileHasher) (m *Manifest, at, why string, err error) {
	m, why, err = Current(dir, key, files)
	if m != nil || err != nil {
		return m, dir, why, err
	}
	for _, suffix := range Suffixes() {
		other, _, err := standing(dir+suffix, key.String(), files)
		if other != nil || err != nil {
			return other, dir + suffix, "", err
		}
	}
	return nil, dir, why, nil
}

// Settle moves the artifact of dir that was made for key, wherever Find finds it,
// to dir when its tests have passed, and else to where failed ones are. An
// artifact of another key that was in dir stays there until this one has passed.
func Settle(ctx context.Context, dir string, key plan.Key, passed bool, files plan.FileHasher) (*Result, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	to := dir
	if !passed {
		to = dir + FailedSuffix
	}
	s, err := newStaging(ctx, dir, func() {})
	if err != nil {
		return nil, err
	}
	m, at, why, err := Find(dir, key, files)
	switch {
	case err != nil:
	case m == nil:
		err = fmt.Errorf("the artifact that was tested is no longer there: %s", why)
	case at != to:
		if err = s.takeBack(at, m); err == nil {
			err = s.publish(to, m)
		}
	}
	return &Result{Dir: to, Manifest: m}, errors.Join(err, s.remove())
}

// takeBack moves the files of the artifact m from dir into the staging directory.
// What else is in dir stays there.
func (s *staging) takeBack(dir string, m *Manifest) error {
	for _, name := range []string{ManifestName, SumsName} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	moved := map[string]bool{}
	for _, f := range m.Files {
		top, _, _ := strings.Cut(f.Path, "/")
		if moved[top] {
			continue
		}
		moved[top] = true
		if err := os.Rename(filepath.Join(dir, top), filepath.Join(s.dir, top)); err != nil {
			return err
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		return err
	}
	return os.Remove(dir)
}
