package eval

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"sync"

	"bake.build/bake/internal/spell"
)

// rootMarkers are the names whose presence makes a directory a project's root.
var rootMarkers = [...]string{"bake.lock", "BAKE_ROOT", ".git"}

// A Project is the tree of files that a definition belongs to. It is safe for
// concurrent use.
type Project struct {
	// Root is the nearest directory at or above the definition that holds
	// bake.lock, BAKE_ROOT or .git, otherwise the definition's own directory.
	// It is absolute and free of symbolic links.
	Root string

	// Definition is the absolute path of the definition, free of symbolic links
	// save for its last element.
	Definition string

	cwd  string
	text []byte // of the definition, where it is not that of the file; see OpenText

	mu      sync.Mutex
	sources map[string]source // by the name that positions show
	read    map[string]bool   // absolute paths
	real    map[string]string // path → what it is without symbolic links
}

// A source is one Starlark file that was read.
type source struct {
	dir  string // absolute directory; "" for a library's file
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
	if real, err := filepath.EvalSymlinks(cwd); err == nil {
		cwd = real
	}
	return &Project{
		Root:       findRoot(filepath.Dir(definition)),
		Definition: definition,
		cwd:        cwd,
		sources:    map[string]source{},
		read:       map[string]bool{},
		real:       map[string]string{},
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
		for _, m := range rootMarkers {
			if _, err := os.Lstat(filepath.Join(d, m)); err == nil {
				return d
			}
		}
		if filepath.Dir(d) == d {
			return dir
		}
	}
}

// Show returns how positions and messages name the absolute path: relative to
// the working directory unless that is longer.
func (p *Project) Show(path string) string {
	rel, err := filepath.Rel(p.cwd, path)
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

// Dir returns the directory of the Starlark file that positions show as name.
// A library's file has none.
func (p *Project) Dir(name string) (dir string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.sources[name]
	return s.dir, ok && s.dir != ""
}

// ErrOutside says that a path leads out of the project.
var ErrOutside = errors.New("leads out of the project")

// Path returns the absolute path, free of symbolic links, of an existing file
// or directory of the project. name is relative to dir, or to the root when it
// begins with "//". The error is ErrOutside when it leaves the root through
// ".." or a link, and fs.ErrNotExist, with a suggestion, when it is missing.
func (p *Project) Path(dir, name string) (string, error) {
	abs, err := p.Join(dir, name)
	if err != nil {
		return "", err
	}
	p.mu.Lock()
	real, ok := p.real[abs]
	p.mu.Unlock()
	if ok {
		return real, nil
	}
	real, err = filepath.EvalSymlinks(abs)
	if errors.Is(err, fs.ErrNotExist) {
		return "", &missingError{name: name, hint: p.missingHint(abs)}
	} else if err != nil {
		return "", fmt.Errorf("%q: %w", name, err)
	}
	if !within(p.Root, real) {
		return "", fmt.Errorf("%q %w: it is a link to %s, and the root is %s", name, ErrOutside, real, p.Root)
	}
	p.mu.Lock()
	p.real[abs] = real
	p.mu.Unlock()
	return real, nil
}

// Join returns the absolute path that name stands for, which need not exist,
// or ErrOutside.
func (p *Project) Join(dir, name string) (string, error) {
	var abs string
	switch rest, rooted := strings.CutPrefix(name, "//"); {
	case name == "":
		return "", errors.New("the path is empty")
	case strings.ContainsRune(name, 0):
		return "", fmt.Errorf("%q is not a path", name)
	case rooted:
		abs = filepath.Join(p.Root, filepath.FromSlash(rest))
	case filepath.IsAbs(name) || path.IsAbs(name):
		return "", fmt.Errorf("%q %w: it is absolute; names from the project's root begin with %q", name, ErrOutside, "//")
	default:
		abs = filepath.Join(dir, filepath.FromSlash(name))
	}
	if !within(p.Root, abs) {
		return "", fmt.Errorf("%q %w, whose root is %s", name, ErrOutside, p.Root)
	}
	return abs, nil
}

func within(root, path string) bool {
	rel, err := filepath.Rel(root, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

type missingError struct{ name, hint string }

func (e *missingError) Error() string {
	return fmt.Sprintf("no file or directory %q%s", e.name, e.hint)
}
func (e *missingError) Unwrap() error { return fs.ErrNotExist }

// missingHint looks for what was meant by the missing path abs at the first of
// its elements that does not exist.
func (p *Project) missingHint(abs string) string {
	for abs != p.Root && within(p.Root, abs) {
		parent := filepath.Dir(abs)
		if _, err := os.Stat(parent); err == nil {
			return neighbours(filepath.Base(abs), parent, "")
		}
		abs = parent
	}
	return ""
}

// neighbours hints at the entries of dir, those whose names end in suffix.
func neighbours(name, dir, suffix string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	return spell.Hint(name, "there are", entryNames(entries, suffix))
}

func entryNames(entries []fs.DirEntry, suffix string) []string {
	var names []string
	for _, e := range entries {
		if name := e.Name(); strings.HasSuffix(name, suffix) && !strings.HasPrefix(name, ".") {
			names = append(names, name)
		}
	}
	return names
}
