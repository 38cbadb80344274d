package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"bake.build/bake/internal/modroot"
	"bake.build/bake/internal/regular"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/starlark/module"
)

// maxScanned is how many bytes a Starlark file has at most, as for an evaluation.
const maxScanned = 1 << 20

// A scanned is a Starlark file of the project.
type scanned struct {
	path  string // absolute
	loads []module.Load
}

// scan reads the Starlark files of the project, without those of modules below it and
// of hidden directories, and says what they load.
func (w *Modules) scan(ctx context.Context) (files []scanned, err error) {
	root := w.set.root
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if d.IsDir() {
			if path != root && (modroot.Is(path) || strings.HasPrefix(d.Name(), ".") || d.Name() == VendorName) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".star") || !d.Type().IsRegular() {
			return nil
		}
		text, err := regular.Read(path, maxScanned)
		if err != nil {
			return err
		}
		name := w.Project.Show(path)
		w.Project.AddSource(name, text)
		loads, err := module.Loads(name, text)
		files = append(files, scanned{path, loads})
		return of(KindDefinition, err)
	})
	return files, err
}

// Tidy drops the requirements that no file of the project loads, and returns their
// names. A file that loads a module which is not required is an error.
func (w *Modules) Tidy(ctx context.Context) (dropped []string, err error) {
	files, err := w.scan(ctx)
	if err != nil {
		return nil, &SourceError{w.Project, err}
	}
	used := map[string]bool{}
	var missing []error
	for _, f := range files {
		for _, l := range f.loads {
			name := l.Module()
			if name == "" || name == "bake" {
				continue
			}
			if !used[name] && w.set.file.Require(name) == nil {
				err := fmt.Errorf("@%s is not known: %s", name, w.set.unknown(name))
				missing = append(missing, of(KindDefinition, &plan.Error{Pos: []plan.Pos{l.Pos}, Err: err}))
			}
			used[name] = true
		}
	}
	if len(missing) > 0 {
		return nil, &SourceError{w.Project, errors.Join(missing...)}
	}
	for _, r := range slices.Clone(w.set.file.Requires) {
		if used[r.Name] {
			continue
		}
		if err := w.Remove(r.Path); err != nil {
			return nil, err
		}
		dropped = append(dropped, r.Name)
	}
	w.set.lock.SetModules(w.forgotten())
	return dropped, nil
}

// forgotten is the lock as it is, about nothing that is asked for: what it says of
// versions holds, and which are needed is found out anew.
func (w *Modules) forgotten() *module.Lock {
	was := w.set.lock.Modules()
	if was == nil || len(w.set.remote()) == 0 && len(w.set.file.Requires) == 0 {
		return nil
	}
	return &module.Lock{Modules: was.Modules}
}

// Definitions returns the files of the project that may be definitions: those that no
// other file loads, and that are no tests. Paths are absolute.
func (w *Modules) Definitions(ctx context.Context) ([]string, error) {
	files, err := w.scan(ctx)
	if err != nil {
		return nil, &SourceError{w.Project, err}
	}
	inner := map[string]bool{}
	for _, f := range files {
		for _, l := range f.loads {
			if rest, rooted := strings.CutPrefix(l.Name, "//"); rooted {
				inner[filepath.Join(w.set.root, filepath.FromSlash(rest))] = true
			} else if l.Module() == "" {
				inner[filepath.Join(filepath.Dir(f.path), filepath.FromSlash(l.Name))] = true
			}
		}
	}
	var definitions []string
	for _, f := range files {
		if !inner[f.path] && !strings.HasSuffix(f.path, "_test.star") {
			definitions = append(definitions, f.path)
		}
	}
	return definitions, nil
}
