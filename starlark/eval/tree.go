package eval

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"bake.build/bake/internal/modroot"
	"bake.build/bake/internal/spell"
)

// A Tree is the files of one module: of the project itself, or of a module that it
// loads. Its files see each other, and of other modules what those export.
type Tree struct {
	Root  string           // absolute, free of symbolic links
	Name  string           // how messages name it, such as "@acme"; "" for one whose files have paths
	Loads map[string]*Tree // what its files load as @name//, by name

	// Unknown says what to do about a name that Loads has not. It may be nil.
	Unknown func(name string) string
}

// A Place is a directory of a tree, as names of files are relative to it. Its methods
// are safe for concurrent use.
type Place struct {
	Tree *Tree
	Dir  string // absolute

	project *Project
}

// Place returns the directory of the Starlark file that positions show as name. A
// file of the shipped library has none.
func (p *Project) Place(name string) (place Place, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.sources[name]
	return Place{s.tree, s.dir, p}, ok && s.tree != nil
}

// Top returns the root directory of the project.
func (p *Project) Top() Place { return Place{p.Tree, p.Root, p} }

// In returns the place of the same tree that is the directory dir, absolute.
func (p Place) In(dir string) Place { return Place{p.Tree, dir, p.project} }

// Root returns the place that is the tree's root.
func (p Place) Root() Place { return p.In(p.Tree.Root) }

// Errors of paths.
var (
	// ErrOutside says that a path leads out of the tree that it is of.
	ErrOutside = errors.New("leads out of")

	// ErrNested is ErrOutside of what is below the tree's root, in a module of its own.
	ErrNested = fmt.Errorf("%w", ErrOutside)
)

// String names the tree.
func (t *Tree) String() string {
	if t.Name == "" {
		return "the project"
	}
	return t.Name
}

// outside is ErrOutside for name, and why. A module's root tells a user nothing, who
// knows its name.
func (p Place) outside(name, why string) error {
	root := ""
	if p.Tree == p.project.Tree {
		root = ", whose root is " + p.Tree.Root
	}
	return fmt.Errorf("%q %w %s%s%s", name, ErrOutside, p.Tree, root, why)
}

// nested is ErrNested for name, which is in the module in the directory dir.
func (p Place) nested(name, dir string) error {
	rel, err := filepath.Rel(p.Tree.Root, dir)
	if err != nil {
		return err
	}
	more := ""
	if p.Tree == p.project.Tree {
		more = ": bake mod add file:" + filepath.ToSlash(rel) + " requires it"
	}
	return fmt.Errorf("%q %w %s: //%s has a %s, and so is a module of its own%s", name, ErrNested, p.Tree, filepath.ToSlash(rel), modroot.File, more)
}

// Path returns the absolute path, free of symbolic links, of an existing file or
// directory of the tree. name is relative to the place, or to the tree's root when it
// begins with "//". The error is ErrOutside when it leaves the root through
// ".." or a link or is in a module below it, and fs.ErrNotExist, with a suggestion, when it is missing.
func (p Place) Path(name string) (string, error) {
	abs, err := p.Join(name)
	if err != nil {
		return "", err
	}
	key := inTree{p.Tree, abs}
	p.project.mu.Lock()
	real, ok := p.project.real[key]
	p.project.mu.Unlock()
	if ok {
		return real, nil
	}
	real, err = filepath.EvalSymlinks(abs)
	if errors.Is(err, fs.ErrNotExist) {
		return "", &missingError{name, p.Tree.Name, p.missingHint(abs), p.rootHint(name)}
	} else if err != nil {
		return "", fmt.Errorf("%q: %w", name, err)
	}
	if !within(p.Tree.Root, real) {
		return "", p.outside(name, ": it is a link to "+real)
	}
	if dir := modroot.Above(p.Tree.Root, real); dir != "" {
		return "", p.nested(name, dir)
	}
	p.project.mu.Lock()
	p.project.real[key] = real
	p.project.mu.Unlock()
	return real, nil
}

// Join returns the absolute path that name stands for, which need not exist,
// or ErrOutside.
func (p Place) Join(name string) (string, error) {
	var abs string
	switch rest, rooted := strings.CutPrefix(name, "//"); {
	case name == "":
		return "", errors.New("the path is empty")
	case strings.ContainsRune(name, 0):
		return "", fmt.Errorf("%q is not a path", name)
	case rooted:
		abs = filepath.Join(p.Tree.Root, filepath.FromSlash(rest))
	case filepath.IsAbs(name) || path.IsAbs(name):
		return "", p.outside(name, `: it is absolute; names from the root begin with "//"`)
	default:
		abs = filepath.Join(p.Dir, filepath.FromSlash(name))
	}
	if !within(p.Tree.Root, abs) {
		return "", p.outside(name, "")
	}
	return abs, nil
}

// An inTree is a path as one tree sees it.
type inTree struct {
	tree *Tree
	path string
}

func within(root, path string) bool {
	rel, err := filepath.Rel(root, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// rootHint says what "//" is in name, where that is only the definition's directory.
func (p Place) rootHint(name string) string {
	project := p.project
	if p.Tree != project.Tree || !strings.HasPrefix(name, "//") || isRoot(project.Root) {
		return ""
	}
	return fmt.Sprintf("\"//\" is %s: no directory above has a bake.mod, bake.lock, BAKE_ROOT or .git; bake mod init in the project's root writes a bake.mod", project.Root)
}

type missingError struct{ name, tree, near, hint string }

func (e *missingError) Error() string {
	in := ""
	if e.tree != "" {
		in = " in " + e.tree
	}
	return fmt.Sprintf("no file or directory %q%s%s", e.name, in, e.near)
}
func (e *missingError) Unwrap() error { return fs.ErrNotExist }

// Hint returns what may help.
func (e *missingError) Hint() string { return e.hint }

// missingHint looks for what was meant by the missing path abs at the first of
// its elements that does not exist.
func (p Place) missingHint(abs string) string {
	for root := p.Tree.Root; abs != root && within(root, abs); {
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

// show returns how positions name a file of the tree.
func (p *Project) show(t *Tree, abs string) string {
	rel, err := filepath.Rel(t.Root, abs)
	if t.Name == "" || err != nil {
		return p.Show(abs)
	}
	return t.Name + "//" + filepath.ToSlash(rel)
}
