package eval

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"sync"

	"bake.build/bake/internal/modroot"
)

// rootMarkers are the names whose presence makes a directory a project's root.
var rootMarkers = [...]string{modroot.File, "bake.lock", "BAKE_ROOT", ".git"}

// A Project is the tree of files that a definition belongs to. It is safe for
// concurrent use.
type Project struct {
	// Root is the nearest directory at or above the definition that holds
	// bake.mod, bake.lock, BAKE_ROOT or .git, otherwise the definition's own directory.
	// It is absolute and free of symbolic links.
	Root string

	// Definition is the absolute path of the definition, free of symbolic links
	// save for its last element.
	Definition string

	// Tree is the project's own files. What it loads of other modules is set before
	// the definition is evaluated.
	Tree *Tree

	cwd  string
	text []byte // of the definition, where it is not that of the file; see OpenText

	mu      sync.Mutex
	sources map[string]source // by the name that positions show
	read    map[string]bool   // absolute paths
	real    map[inTree]string // path → what it is without symbolic links
}

// A source is one Starlark file that was read.
type source struct {
	tree *Tree  // nil for a file of the shipped library
	dir  string // absolute directory
	text []byte
}

// OpenProject finds the project of a definition. Positions are shown relative
// to the directory cwd, which is absolute.
func OpenProject(definition, cwd string) (*Project, error) {
	if !filepath.IsAbs(definition) {
		definition = filepath.Join(cwd, definition)
	}
	info, err := os.Stat(definition)
	if errors.Is(err, fs.ErrNotExist) {
		name := filepath.Base(definition)
		return nil, fmt.Errorf("open definition: no file %q%s", definition, neighbours(name, filepath.Dir(definition), ".star"))
	} else if err != nil {
		return nil, fmt.Errorf("open definition: %w", err)
	}
	if info.IsDir() {
		return nil, fmt.Errorf("open definition: %q is a directory, want a Starlark file%s", definition, neighbours("", definition, ".star"))
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(definition))
	if err != nil {
		return nil, fmt.Errorf("open definition: %w", err)
	}
	return newProject(filepath.Join(dir, filepath.Base(definition)), cwd), nil
}

// newProject makes the project of a definition, whose directory has no symbolic links.
func newProject(definition, cwd string) *Project {
	p := NewProject(findRoot(filepath.Dir(definition)), cwd)
	p.Definition = definition
	return p
}

// NewProject returns the project of the root directory, absolute and free of symbolic
// links, without a definition. Positions are shown relative to the directory cwd.
func NewProject(root, cwd string) *Project {
	if real, err := filepath.EvalSymlinks(cwd); err == nil {
		cwd = real
	}
	return &Project{
		Root:    root,
		Tree:    &Tree{Root: root},
		cwd:     cwd,
		sources: map[string]source{},
		read:    map[string]bool{},
		real:    map[inTree]string{},
	}
}

// OpenText makes a project whose definition is text, as if it stood in a file at path,
// which need not exist. Its directory does.
func OpenText(path string, text []byte, cwd string) (*Project, error) {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("open definition: %w", err)
	}
	p := newProject(filepath.Join(dir, filepath.Base(path)), cwd)
	p.text = text
	return p, nil
}

// Root returns the root of the project that a directory belongs to; see Project.Root.
func Root(dir string) string { return findRoot(dir) }

func findRoot(dir string) string {
	for d := dir; ; d = filepath.Dir(d) {
		if isRoot(d) {
			return d
		}
		if filepath.Dir(d) == d {
			return dir
		}
	}
}

// isRoot reports whether dir holds what makes it a project's root.
func isRoot(dir string) bool {
	return slices.ContainsFunc(rootMarkers[:], func(name string) bool {
		_, err := os.Lstat(filepath.Join(dir, name))
		return err == nil
	})
}

// Show returns how positions and messages name the absolute path: relative to
// the working directory unless that is longer.
func (p *Project) Show(path string) string { return Show(p.cwd, path) }

// Show returns how positions and messages name the absolute path to who works in the
// directory cwd: relative to it unless that is longer.
func Show(cwd, path string) string {
	rel, err := filepath.Rel(cwd, path)
	if err != nil || len(rel) > len(path) {
		return filepath.ToSlash(path)
	}
	return filepath.ToSlash(rel)
}

// Source returns the text of a Starlark file that was read, by the name that
// positions show.
func (p *Project) Source(name string) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, ok := p.sources[name]; ok {
		return s.text, nil
	}
	return nil, fmt.Errorf("source of %s: %w", name, fs.ErrNotExist)
}

// AddSource makes text the one of the file that positions show as name, for a file
// beside Starlark that errors are in.
func (p *Project) AddSource(name string, text []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sources[name] = source{text: text}
}

// Files returns the absolute paths of the project's files that were read, and
// of those that Record was told of, sorted.
func (p *Project) Files() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	files := make([]string, 0, len(p.read))
	for f := range p.read {
		files = append(files, f)
	}
	sort.Strings(files)
	return files
}

// Record says that the definition depends on the file or directory at the
// absolute path.
func (p *Project) Record(path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read[path] = true
}
