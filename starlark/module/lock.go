package module

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Lock is what was selected for a module: the section "modules" of its bake.lock.
type Lock struct {
	// Asked is the digest of what was asked for: the requirements, replacements and
	// exclusions of bake.mod, and the requirements of local folders.
	Asked string `json:"asked"`

	// Modules are the modules that were selected, by their paths, without local folders.
	Modules map[string]Locked `json:"modules"`
}

// A Locked is one module of a lock.
type Locked struct {
	Version string `json:"version"`
	Source  string `json:"source"`
	Digest  Digest `json:"digest"`           // of the tree
	Commit  string `json:"commit,omitempty"` // of a git repository
}

// Check says what is wrong with a lock that was read.
func (l *Lock) Check() error {
	for path, m := range l.Modules {
		if err := CheckPath(path); err != nil {
			return err
		}
		if err := CheckVersion(path, m.Version); err != nil {
			return fmt.Errorf("module %s: %w", path, err)
		}
		src, err := ParseSource(m.Source)
		if err != nil {
			return fmt.Errorf("module %s: %w", path, err)
		}
		if src.String() != m.Source { // what is locked is looked up by its source
			return fmt.Errorf("module %s: source %q: want %q", path, m.Source, src)
		}
		if m.Version == "" || src.Local() {
			return fmt.Errorf("module %s: want a version and a source that is no local folder", path)
		}
		if err := m.Digest.Check(); err != nil {
			return fmt.Errorf("module %s: %w", path, err)
		}
	}
	return nil
}

// Ref returns which version of which source is locked for a path.
func (l *Lock) Ref(path string) (Ref, bool) {
	m, ok := l.Modules[path]
	if !ok {
		return Ref{}, false
	}
	src, err := ParseSource(m.Source) // which Check has seen
	return Ref{path, m.Version, src}, err == nil
}

// ErrStale says that bake.lock is not about what bake.mod asks for.
var ErrStale = errors.New("bake.lock is not about what bake.mod asks for")

// Asked returns the digest of what main asks for, with what local folders do. They
// are read as read has them.
func Asked(main *File, read func(folder Source) (*File, error)) (string, error) {
	var lines []string
	seen := map[Source]bool{}
	var add func(f *File, at *Ref) error
	add = func(f *File, at *Ref) error {
		for _, r := range f.Requires {
			ref := Ref{r.Path, r.Version, r.Source}
			if at != nil {
				if err := ref.seenFrom(*at); err != nil {
					return err
				}
			}
			ref = main.replaced(ref)
			lines = append(lines, fmt.Sprintf("require %q %q %q by %q", ref.Path, ref.Version, ref.Source.String(), f.Path))
			if !ref.Source.Local() || seen[ref.Source] {
				continue
			}
			seen[ref.Source] = true
			local, err := read(ref.Source)
			if err != nil {
				return fmt.Errorf("%s: %w", ref, err)
			}
			if err := add(local, &ref); err != nil {
				return err
			}
		}
		return nil
	}
	if err := add(main, nil); err != nil {
		return "", err
	}
	for _, r := range main.Replaces {
		lines = append(lines, fmt.Sprintf("replace %q %q %q %q", r.Path, r.Only, r.Version, r.Source.String()))
	}
	for _, e := range main.Excludes {
		lines = append(lines, fmt.Sprintf("exclude %q %q", e.Path, e.Version))
	}
	slices.Sort(lines)
	return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(strings.Join(lines, "\n")))), nil
}

// Resolve returns the graph of what is locked: nothing is selected again. The error is
// ErrStale where that cannot be what was selected, as after a merge or an edit by hand.
func (l *Lock) Resolve(ctx context.Context, main *File, r Reader) (*Graph, error) {
	g := &Graph{Main: &Module{Ref: Ref{Path: main.Path}, File: main}, byPath: map[string]*Module{}}
	g.byPath[main.Path] = g.Main
	for queue := []*Module{g.Main}; len(queue) > 0; queue = queue[1:] {
		m := queue[0]
		var at *Ref
		if m != g.Main {
			at = &m.Ref
		}
		for _, r2 := range m.File.Requires {
			known := g.byPath[r2.Path]
			if known == g.Main {
				continue // a cycle; see reach
			}
			next := &Module{Ref: Ref{r2.Path, r2.Version, r2.Source}, by: m, from: r2.Pos}
			ref, err := l.got(main, at, r2, known)
			if err != nil {
				return nil, next.fault(err)
			}
			if known != nil || ref.Path == "" {
				continue
			}
			next.Ref = ref
			if next.File, err = r.ReadModule(ctx, ref); err == nil {
				err = next.File.checkName(ref)
			}
			if err != nil {
				return nil, next.fault(err)
			}
			g.byPath[r2.Path] = next
			queue = append(queue, next)
		}
	}
	return g, g.reach()
}

// got returns what is taken for the requirement r of the module at, nil for main; no Ref
// where the lock does not say, since a folder may be that is found later. known is the
// module that was taken for another requirement, or nil.
func (l *Lock) got(main *File, at *Ref, r Require, known *Module) (Ref, error) {
	asked, err := main.asked(at, r)
	if err != nil {
		return asked, err
	}
	excluded := main.excludes(asked.Path, asked.Version)
	if !excluded {
		asked = main.replaced(asked)
	}
	got, locked := l.Ref(r.Path)
	switch {
	case known != nil:
		got = known.Ref
	case !locked && asked.Source.Local():
		got = asked
	case !locked:
		return Ref{}, nil
	}
	if !excluded && !main.mayGet(at == nil, asked, got) {
		return got, ErrStale
	}
	return got, nil
}

// mayGet reports whether got can be what was selected where asked was asked for, by the
// module f that is built or by another.
func (f *File) mayGet(byMain bool, asked, got Ref) bool {
	replaced := slices.ContainsFunc(f.Replaces, func(r Replace) bool { return r.Path == got.Path })
	switch {
	case asked.Source.Local():
		return got.Source.Local()
	case got.Source.Local():
		return true // before every version
	case asked.Version != got.Version && (byMain && !IsRelease(asked.Version) || IsRelease(asked.Version) && IsRelease(got.Version) && Compare(got.Version, asked.Version) < 0):
		return false
	case byMain && (asked.Version == got.Version || !replaced && !asked.Source.Single()):
		return asked.Source == got.Source
	}
	return true
}
