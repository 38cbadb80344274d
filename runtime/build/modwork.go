package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"bake.build/bake/internal/durable"
	"bake.build/bake/internal/lazyregexp"
	"bake.build/bake/internal/spell"
	rmodule "bake.build/bake/runtime/module"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/starlark/eval"
	"bake.build/bake/starlark/module"
)

// Modules is the work on what a project requires of other modules: its bake.mod, and
// the section of bake.lock that belongs to it. Its methods are called by one goroutine
// at a time; Save writes what they changed.
type Modules struct {
	Project *eval.Project // by which errors are shown; it has no definition

	set     *modules
	changed bool // bake.mod has to be written
}

// ErrNoModule says that no bake.mod is there.
var ErrNoModule = errors.New("no bake.mod here or in a directory above")

// OpenModules finds the bake.mod of c.Dir and reads it. Errors are SourceErrors. What
// it returns must be closed.
func OpenModules(c Config) (*Modules, error) {
	root, err := filepath.EvalSymlinks(c.Dir)
	if err != nil {
		return nil, of(KindUsage, err)
	}
	for dir := root; ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(filepath.Join(dir, module.FileName)); err == nil {
			root = dir
			break
		}
		if filepath.Dir(dir) == dir {
			return nil, of(KindUsage, WithHint(ErrNoModule, "bake mod init writes one"))
		}
	}
	w := &Modules{Project: eval.NewProject(root, c.Dir)}
	h := &Host{Config: c, notices: notices{notify: c.Notify}}
	w.set, err = newModules(h, root, w.Project.Show)
	if bad := (*modFileError)(nil); errors.As(err, &bad) {
		w.Project.AddSource(bad.name, bad.text)
	}
	if err != nil {
		return nil, &SourceError{w.Project, err}
	}
	w.Project.AddSource(w.set.file.Name, w.set.file.Text())
	return w, nil
}

// Close closes the store. It writes nothing of the project.
func (w *Modules) Close() error {
	if w.set.host.Store == nil {
		return nil
	}
	return w.set.host.Store.Close()
}

// File returns the bake.mod, with what has been changed.
func (w *Modules) File() *module.File { return w.set.file }

// with goes on with another bake.mod.
func (w *Modules) with(f *module.File) {
	w.set = &modules{
		host: w.set.host, root: w.set.root, show: w.set.show, lock: w.set.lock, fetcher: w.set.fetcher, file: f,
		trees: w.set.trees, files: w.set.files,
	}
	w.changed = true
}

// Resolve finds the modules in the versions that the lock says, or selects them where
// it is about something else.
func (w *Modules) Resolve(ctx context.Context) (*module.Graph, error) {
	if err := w.set.resolve(ctx); err != nil {
		return nil, &SourceError{w.Project, err}
	}
	return w.set.graph, nil
}

// Save writes bake.mod and bake.lock where they have changed.
func (w *Modules) Save(ctx context.Context) error {
	if w.changed {
		err := durable.Replace(filepath.Join(w.set.root, module.FileName), w.set.file.Text())
		if err != nil {
			return err
		}
	}
	return w.set.lock.Save(ctx)
}

// InitModule writes a first bake.mod of a module to the directory dir.
func InitModule(dir, path string) (file string, err error) {
	if err := module.CheckPath(path); err != nil {
		return "", of(KindUsage, err)
	}
	file = filepath.Join(dir, module.FileName)
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return "", of(KindUsage, fmt.Errorf("%s is there already", file))
	} else if err != nil {
		return "", err
	}
	_, err = f.Write(module.New(path))
	return file, errors.Join(err, f.Close())
}

// Add requires a module, given as [NAME=]SOURCE[@VERSION], in place of an earlier
// requirement of it. Without a version it is the newest. version is for archives,
// which the source cannot give one.
func (w *Modules) Add(ctx context.Context, given, version string) (*module.Require, error) {
	r, err := w.wanted(ctx, given, version)
	if err != nil {
		return nil, &SourceError{w.Project, err}
	}
	f, err := w.set.file.With(r)
	if err != nil {
		return nil, of(KindUsage, fmt.Errorf("%s: %w", given, err))
	}
	w.with(f)
	return f.Require(r.Path), nil
}

// wanted finds out what to require.
func (w *Modules) wanted(ctx context.Context, given, version string) (r module.Require, err error) {
	text := given
	if name, rest, ok := strings.Cut(given, "="); ok && module.CheckName(name) == nil {
		r.Name, text = name, rest
	}
	if text, r.Version = module.SplitVersion(text); version != "" {
		r.Version = version
	}
	if r.Source, err = module.ParseSource(text); err != nil {
		return r, of(KindUsage, err)
	}
	if r.Version == "" && !r.Source.Local() {
		if r.Version, err = w.newest(ctx, r.Source); err != nil {
			return r, err
		}
	}
	if r.Source.Local() && !filepath.IsAbs(filepath.FromSlash(r.Source.Dir)) {
		// What is given is seen from the working directory, what bake.mod says from its own.
		rel, err := filepath.Rel(w.set.root, w.set.host.abs(filepath.FromSlash(r.Source.Dir)))
		if err != nil {
			return r, err
		}
		r.Source.Dir = filepath.ToSlash(rel)
	}
	f, err := w.set.ReadModule(ctx, module.Ref{Version: r.Version, Source: r.Source})
	if err != nil {
		return r, of(KindUsage, err)
	}
	r.Path = f.Path
	if r.Name == "" {
		r.Name = module.NameOf(r.Path)
		if was := w.set.file.Require(r.Path); was != nil {
			r.Name = was.Name
		}
	}
	if was := w.set.file.Require(r.Name); was != nil && was.Path != r.Path {
		return r, of(KindUsage, WithHint(fmt.Errorf("@%s is the name of %s in %s", r.Name, was.Path, w.set.file.Name), "give another: bake mod add NAME="+text))
	}
	return r, of(KindUsage, module.CheckVersion(r.Path, r.Version))
}

var versionInName = lazyregexp.New(`[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`)

// newest returns the newest version of a source, whatever its major version.
func (w *Modules) newest(ctx context.Context, src module.Source) (string, error) {
	if src.Single() {
		name := src.URL
		for _, end := range []string{".gz", ".zst", ".tgz", ".tar", ".zip"} {
			name = strings.TrimSuffix(name, end)
		}
		if v := "v" + versionInName.FindString(name); module.IsRelease(v) {
			return v, nil
		}
		return "", of(KindUsage, WithHint(fmt.Errorf("%s does not say its version", src), "give it with --version v1.4.0"))
	}
	versions, err := w.set.Versions(ctx, src)
	if err != nil {
		return "", err
	}
	best := ""
	for _, v := range versions {
		if !module.IsRelease(v) {
			continue
		}
		if pre, bestPre := strings.Contains(v, "-"), strings.Contains(best, "-"); best == "" || bestPre && !pre || pre == bestPre && module.Compare(v, best) > 0 {
			best = v
		}
	}
	if best == "" {
		return "", of(KindUsage, WithHint(fmt.Errorf("%s has no version%s", src, spell.Hint("", "it has", versions)), "a version is a tag such as v1.4.0; a branch or commit is given behind an @"))
	}
	return best, nil
}

// Remove drops the requirement of a module by its name or its path.
func (w *Modules) Remove(name string) error {
	r := w.set.file.Require(name)
	if r == nil {
		return of(KindUsage, fmt.Errorf("%s requires no module %q%s", w.set.file.Name, name, spell.Hint(name, "there are", w.set.file.Names())))
	}
	f, err := w.set.file.Without(r.Path)
	if err != nil {
		return err
	}
	w.with(f)
	return nil
}

// A VersionChange is a requirement that asks for another version.
type VersionChange struct {
	Name, Path string
	Old, New   string // equal where a branch has moved
}

// Raise makes the requirements called names, or all, ask for the newest version of
// their major version, or for the one that is given, as NAME@VERSION. It takes branches
// as they are now, and so what a name stands for that is given: its tag may have moved.
func (w *Modules) Raise(ctx context.Context, names []string) (changes []VersionChange, err error) {
	chosen := w.set.remote()
	asked := map[string]string{} // versions, by the names of modules
	if len(names) > 0 {
		chosen = nil
		for _, name := range names {
			name, version, given := strings.Cut(name, "@")
			r := w.set.file.Require(name)
			if r == nil {
				return nil, of(KindUsage, fmt.Errorf("%s requires no module %q%s", w.set.file.Name, name, spell.Hint(name, "there are", w.set.file.Names())))
			}
			if given {
				if err := module.CheckVersion(r.Path, version); err != nil {
					return nil, of(KindUsage, err)
				}
				asked[r.Name] = version
			}
			chosen = append(chosen, *r)
		}
	}
	newest := make([]string, len(chosen))
	var g errgroup.Group
	g.SetLimit(maxModuleWork)
	for i, r := range chosen {
		if version, ok := asked[r.Name]; ok {
			if r.Source.Local() || r.Source.Single() {
				return nil, of(KindUsage, fmt.Errorf("@%s is %s, which has no versions to choose from", r.Name, r.Source))
			}
			newest[i] = version
			continue
		}
		if newest[i] = r.Version; r.Source.Local() || r.Source.Single() || !module.IsRelease(r.Version) {
			continue
		}
		g.Go(func() error {
			versions, err := w.set.Versions(ctx, r.Source)
			if err != nil {
				return err
			}
			if v := module.Newest(r.Path, w.allowed(r.Path, versions)); v != "" && module.Compare(v, r.Version) > 0 {
				newest[i] = v
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, &SourceError{w.Project, err}
	}
	f := w.set.file
	var again []module.Require
	for i, r := range chosen {
		if !r.Source.Local() && (len(names) > 0 || !module.IsRelease(r.Version)) && newest[i] == r.Version {
			again = append(again, r)
		}
		if newest[i] == r.Version {
			continue
		}
		changes = append(changes, VersionChange{r.Name, r.Path, r.Version, newest[i]})
		r.Version = newest[i]
		if f, err = f.With(r); err != nil {
			return nil, err
		}
	}
	if len(changes) > 0 {
		w.with(f)
	}
	return append(changes, w.again(ctx, again)...), nil
}

// allowed returns the versions that are not excluded.
func (w *Modules) allowed(path string, versions []string) []string {
	return slices.DeleteFunc(slices.Clone(versions), func(v string) bool {
		return slices.ContainsFunc(w.set.file.Excludes, func(e module.Exclude) bool { return e.Path == path && e.Version == v })
	})
}

// again takes what has moved out of the lock, and returns it.
func (w *Modules) again(ctx context.Context, chosen []module.Require) (changes []VersionChange) {
	was := w.set.lock.Modules()
	if was == nil || len(chosen) == 0 {
		return nil
	}
	now := &module.Lock{Modules: map[string]module.Locked{}} // about nothing that is asked for
	for path, l := range was.Modules {
		now.Modules[path] = l
	}
	for _, r := range chosen {
		l, ok := was.Modules[r.Path]
		if !ok || l.Version != r.Version {
			continue
		}
		delete(now.Modules, r.Path)
		if f, err := w.set.fetch(); err == nil {
			// An error is told when the module is resolved.
			if t, err := f.Fetch(ctx, r.Source, r.Version, ""); err == nil && t.Digest != l.Digest {
				changes = append(changes, VersionChange{r.Name, r.Path, r.Version, r.Version})
			}
		}
	}
	if len(changes) == 0 {
		return nil
	}
	w.with(w.set.file)
	w.set.trees, w.set.files = memory()
	w.set.lock.SetModules(now)
	return changes
}

// Publish pushes the module to a registry, given as SOURCE@VERSION.
func (w *Modules) Publish(ctx context.Context, given string) (p rmodule.Publication, err error) {
	text, version := module.SplitVersion(given)
	to, err := module.ParseSource(text)
	if err != nil {
		return p, of(KindUsage, err)
	}
	if version == "" {
		return p, of(KindUsage, WithHint(fmt.Errorf("%s: the version is missing", given), "it is written behind an @: "+given+"@v1.4.0"))
	}
	if !module.IsRelease(version) {
		return p, of(KindUsage, fmt.Errorf("version %q: want a semantic version such as v1.4.0", version))
	}
	if err := module.CheckVersion(w.set.file.Path, version); err != nil {
		return p, of(KindUsage, err)
	}
	for _, r := range w.set.file.Requires {
		if r.Source.Local() {
			err := fmt.Errorf("%s is a folder of this machine: a module that is published requires published ones", r.Source)
			return p, &SourceError{w.Project, of(KindDefinition, &plan.Error{Pos: []plan.Pos{r.Place()}, Err: err})}
		}
	}
	f, err := w.set.fetch()
	if err != nil {
		return p, err
	}
	return f.Publish(ctx, w.set.root, w.set.file.Path, to, version)
}
