package module

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/semaphore"
)

// A Reader gets what a resolution has to know. Its methods are called by many
// goroutines at once.
type Reader interface {
	// ReadModule returns the bake.mod of a version of a module.
	ReadModule(ctx context.Context, ref Ref) (*File, error)

	// Versions lists the versions that a source has, in any order.
	Versions(ctx context.Context, src Source) ([]string, error)
}

// maxReads is how many modules are read at once.
const maxReads = 64

// Resolve selects the versions of all that main requires. Modules are read in
// parallel, each version once. An error is a plan.Error at the requirement of main
// that leads to the fault.
func Resolve(ctx context.Context, main *File, r Reader) (*Graph, error) {
	v := &resolution{main: main, reader: r, reads: semaphore.NewWeighted(maxReads), files: map[Ref]*read{}}
	v.descend(ctx, nil, main)
	v.wait.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	g := &Graph{Main: &Module{Ref: Ref{Path: main.Path}, File: main}}
	var err error
	if g.asked, err = v.walk(ctx, g.Main); err != nil {
		return nil, err
	}
	if g.byPath, err = choose(g.Main, g.asked); err != nil {
		return nil, err
	}
	return g, g.reach()
}

// A resolution is the work of one Resolve.
type resolution struct {
	main   *File
	reader Reader
	reads  *semaphore.Weighted
	wait   sync.WaitGroup

	mu    sync.Mutex
	files map[Ref]*read
	lists sync.Map // Source → func() ([]string, error)
}

// A read is a version that is read, or was.
type read struct {
	file *File
	err  error
}

// descend reads what file, of the module at, requires, and so on.
func (v *resolution) descend(ctx context.Context, at *Ref, file *File) {
	for _, r := range file.Requires {
		v.wait.Go(func() {
			ref, err := v.ref(ctx, at, r)
			if err != nil || ref.Path == v.main.Path {
				return // the walk says so
			}
			v.mu.Lock()
			known := v.files[ref] != nil
			one := &read{}
			if !known {
				v.files[ref] = one
			}
			v.mu.Unlock()
			if known {
				return
			}
			if one.err = v.reads.Acquire(ctx, 1); one.err == nil {
				one.file, one.err = v.reader.ReadModule(ctx, ref)
				v.reads.Release(1)
			}
			if one.err == nil {
				one.err = one.file.checkName(ref)
			}
			if one.err == nil {
				v.descend(ctx, &ref, one.file)
			}
		})
	}
}

// checkName fails where the bake.mod that was read of ref is that of another module.
func (f *File) checkName(ref Ref) error {
	if f.Path != ref.Path {
		return fmt.Errorf("it calls itself %s in its bake.mod", f.Path)
	}
	return nil
}

// walk lists every version that is asked for, in the order of bake.mod's, level by
// level. It is the same each time, whatever was read first.
func (v *resolution) walk(ctx context.Context, main *Module) ([]*Module, error) {
	var asked []*Module
	seen := map[Ref]bool{}
	for queue := []*Module{main}; len(queue) > 0; queue = queue[1:] {
		m := queue[0]
		for _, r := range m.File.Requires {
			var at *Ref
			if m != main {
				at = &m.Ref
			}
			ref, err := v.ref(ctx, at, r)
			next := &Module{Ref: ref, by: m, from: r.Pos}
			if err != nil {
				next.Ref = Ref{r.Path, r.Version, r.Source}
				return nil, next.fault(err)
			}
			if seen[ref] {
				continue
			}
			seen[ref] = true
			asked = append(asked, next)
			if ref.Path == v.main.Path {
				return asked, nil // a cycle; see choose
			}
			one := v.files[ref]
			if one.err != nil {
				return nil, next.fault(one.err)
			}
			next.File = one.file
			queue = append(queue, next)
		}
	}
	return asked, nil
}

// ref returns which version of what is taken for the requirement r of the module at,
// nil for the one that is built.
func (v *resolution) ref(ctx context.Context, at *Ref, r Require) (Ref, error) {
	ref, err := v.main.asked(at, r)
	if err != nil {
		return ref, err
	}
	if ref.Version, err = v.allowed(ctx, ref); err != nil {
		return ref, err
	}
	return v.main.replaced(ref), nil
}

// asked returns what the requirement r of the module at, nil for the one that is built,
// asks for where the built module f has the last word on sources.
func (f *File) asked(at *Ref, r Require) (Ref, error) {
	ref := Ref{r.Path, r.Version, r.Source}
	if at == nil {
		return ref, nil
	}
	if err := ref.seenFrom(*at); err != nil {
		return ref, err
	}
	own := f.Require(r.Path)
	switch {
	case own == nil || own.Path != r.Path:
	case own.Source.Local():
		return Ref{r.Path, "", own.Source}, nil
	case !own.Source.Single(): // an archive is one version
		ref.Source = own.Source
	}
	return ref, nil
}

// seenFrom makes the folder that the module at asks for relative to the built module.
func (r *Ref) seenFrom(at Ref) error {
	if !r.Source.Local() {
		return nil
	}
	if !at.Source.Local() {
		return fmt.Errorf("%s is a folder on its author's machine: a module that is published requires published ones", r.Source)
	}
	r.Source = at.Source.Join(r.Source)
	return nil
}

// replaced returns what the file says to take in place of ref.
func (f *File) replaced(ref Ref) Ref {
	for _, only := range []string{ref.Version, ""} {
		for _, r := range f.Replaces {
			if r.Path != ref.Path || r.Only != only {
				continue
			}
			ref.Source = r.Source
			switch {
			case r.Source.Local():
				ref.Version = ""
			case r.Version != "":
				ref.Version = r.Version
			}
			return ref
		}
	}
	return ref
}

// allowed returns the version of ref, or the next higher one that is not excluded.
func (v *resolution) allowed(ctx context.Context, ref Ref) (string, error) {
	if !v.main.excludes(ref.Path, ref.Version) {
		return ref.Version, nil
	}
	once, _ := v.lists.LoadOrStore(ref.Source.String(), sync.OnceValues(func() ([]string, error) {
		return v.reader.Versions(ctx, ref.Source)
	}))
	versions, err := once.(func() ([]string, error))()
	if err != nil {
		return "", fmt.Errorf("it is excluded, and what versions there are is not known: %w", err)
	}
	next := ""
	for _, w := range versions {
		if IsRelease(w) && checkMajor(ref.Path, w) == nil && Compare(w, ref.Version) > 0 && !v.main.excludes(ref.Path, w) && (next == "" || Compare(w, next) < 0) {
			next = w
		}
	}
	if next == "" {
		slices.SortFunc(versions, Compare)
		return "", fmt.Errorf("it is excluded, and no higher version is there (versions: %s)", strings.Join(versions, ", "))
	}
	return next, nil
}

func (f *File) excludes(path, version string) bool {
	return slices.ContainsFunc(f.Excludes, func(e Exclude) bool { return e.Path == path && e.Version == version })
}
