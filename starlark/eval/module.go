package eval

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"bake.build/bake/internal/regular"
	"bake.build/bake/internal/spell"
	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// dialect is what a definition may use of Starlark. Names of the top level may
// be assigned again, since a chain of steps reads best as m = shell(m, …), in a
// function or out of it.
var dialect = syntax.FileOptions{Set: true, TopLevelControl: true, GlobalReassign: true}

// Dialect returns the options with which definitions are parsed.
func Dialect() *syntax.FileOptions { d := dialect; return &d }

// A module is one Starlark file, evaluated or being evaluated.
type module struct {
	name    string // as positions show it; unique
	tree    *Tree  // nil for the shipped library
	path    string // absolute, or within the shipped library
	visible visibility
	globals starlark.StringDict
	done    bool
	err     error
}

// load evaluates what module from loads as name.
func (r *run) load(from *module, name string) (starlark.StringDict, error) {
	m, err := r.find(from, name)
	if err != nil {
		return nil, err
	}
	for i, open := range r.loading {
		if open == m {
			return nil, fmt.Errorf("load cycle: %s", cycle(append(r.loading[i:], m)))
		}
	}
	if !m.done {
		m.globals, m.err = r.exec(m)
		m.done = true
	}
	if m.err == nil {
		if err := m.visible.check(m, from); err != nil {
			return nil, err
		}
	}
	return exported(m.globals), m.err
}

// exported returns the globals that other modules can load, so that no other is
// proposed in place of one that is misspelt.
func exported(globals starlark.StringDict) starlark.StringDict {
	public := make(starlark.StringDict, len(globals))
	for name, v := range globals {
		if !strings.HasPrefix(name, "_") {
			public[name] = v
		}
	}
	return public
}

func cycle(modules []*module) string {
	names := make([]string, len(modules))
	for i, m := range modules {
		names[i] = m.name
	}
	return strings.Join(names, " → ")
}

// find returns the module that is called name in the module from.
func (r *run) find(from *module, name string) (*module, error) {
	lib, file, err := splitLoad(name)
	switch {
	case err != nil:
		return nil, err
	case lib == "bake" && r.cfg.Std != nil:
		return r.shipped(file)
	case lib != "" && from.tree == nil:
		return nil, fmt.Errorf("@%s is not known in the shipped library", lib)
	case from.tree == nil:
		if rooted, ok := strings.CutPrefix(name, "//"); ok {
			return r.shipped(rooted)
		}
		return r.shipped(path.Join(path.Dir(from.path), name))
	}
	at, abs, err := Place{from.tree, filepath.Dir(from.path), r.cfg.Project}.Load(name)
	if err != nil {
		if lib == "" && r.cfg.Std != nil && fs.ValidPath(name) {
			if _, statErr := fs.Stat(r.cfg.Std, name); statErr == nil {
				err = fmt.Errorf("%w; the shipped library has one: \"@bake//%s\"", err, name)
			}
		}
		return nil, err
	}
	return r.file(at.Tree, abs), nil
}

// splitLoad splits what load gives as "@lib//file"; lib is "" for a name in the own tree.
func splitLoad(name string) (lib, file string, err error) {
	rest, ok := strings.CutPrefix(name, "@")
	if !ok {
		return "", name, nil
	}
	if lib, file, ok = strings.Cut(rest, "//"); ok {
		return lib, file, nil
	}
	if lib, file, _ = strings.Cut(rest, "/"); file == "" {
		file = "x.star"
	}
	return "", "", fmt.Errorf("%q: the name of a library ends with two slashes: \"@%s//%s\"", name, lib, file)
}

// Load returns the absolute path of the Starlark file that one of the place loads as name,
// and the place of that file. The shipped library has none.
func (p Place) Load(name string) (at Place, abs string, err error) {
	lib, file, err := splitLoad(name)
	if err != nil {
		return Place{}, "", err
	}
	at = p
	if lib != "" {
		at, err = p.module(lib)
		if err == nil && !fs.ValidPath(file) {
			err = fmt.Errorf("@%s//%s is not the name of a file of a module", lib, file)
		}
		if err != nil {
			return Place{}, "", err
		}
	}
	abs, err = at.Path(file)
	if lib != "" && errors.Is(err, fs.ErrNotExist) {
		dir := filepath.Join(at.Dir, filepath.FromSlash(path.Dir(file)))
		err = fmt.Errorf("no file %q in @%s%s", file, lib, neighbours(path.Base(file), dir, ".star"))
	}
	return at.In(filepath.Dir(abs)), abs, err
}

// module returns the root of the module that files of the place know as lib.
func (p Place) module(lib string) (Place, error) {
	if t := p.Tree.Loads[lib]; t != nil {
		return Place{t, t.Root, p.project}, nil
	}
	names := append(slices.Collect(maps.Keys(p.Tree.Loads)), "bake")
	more := ""
	switch near := spell.Nearest(lib, names); {
	case near != "":
		more = fmt.Sprintf(" (did you mean @%s?)", near)
	case p.Tree.Unknown != nil:
		more = ": " + p.Tree.Unknown(lib)
	}
	return Place{}, fmt.Errorf("@%s is not known%s", lib, more)
}

// file returns the module that is the file abs of a tree.
func (r *run) file(t *Tree, abs string) *module {
	return r.module(module{name: r.cfg.Project.show(t, abs), tree: t, path: abs})
}

// shipped returns a file of the shipped library.
func (r *run) shipped(file string) (*module, error) {
	if file == "" || !fs.ValidPath(file) {
		return nil, fmt.Errorf("@bake//%s is not the name of a file of the library", file)
	}
	if _, err := fs.Stat(r.cfg.Std, file); err != nil {
		hint := ""
		if entries, err := fs.ReadDir(r.cfg.Std, path.Dir(file)); err == nil {
			hint = spell.Hint(path.Base(file), "there are", entryNames(entries, ".star"))
		}
		return nil, fmt.Errorf("no file %q in @bake%s", file, hint)
	}
	return r.module(module{name: "@bake//" + file, path: file}), nil
}

// module returns the one module of m's name.
func (r *run) module(m module) *module {
	if known, ok := r.modules[m.name]; ok {
		return known
	}
	r.modules[m.name] = &m
	return &m
}

// maxModule is how many bytes of a Starlark file are read at most.
// The parser and what follows it call themselves for each operator of a line:
// without a bound, a sum of millions of terms could take the whole stack, which
// ends the process.
const maxModule = 1 << 20

// exec reads and evaluates m.
func (r *run) exec(m *module) (starlark.StringDict, error) {
	text, err := r.read(m)
	if err != nil {
		return nil, err
	}
	r.loading = append(r.loading, m)
	defer func() { r.loading = r.loading[:len(r.loading)-1] }()

	file, err := dialect.Parse(m.name, text, 0)
	if err != nil {
		return nil, advise(err, text)
	}
	if r.cfg.Rewrite != nil {
		r.cfg.Rewrite(m.name, file)
	}
	guard(file)
	prog, err := starlark.FileProgram(file, r.cfg.Predeclared.Has)
	if err != nil {
		return nil, r.suggest(err, file)
	}
	globals, err := prog.Init(r.thread, r.cfg.Predeclared)
	globals.Freeze()
	return globals, err
}

func (r *run) read(m *module) ([]byte, error) {
	p := r.cfg.Project
	src := source{}
	var err error
	switch {
	case m.tree == nil:
		src.text, err = fs.ReadFile(r.cfg.Std, m.path)
	case m.path == p.Definition && p.text != nil:
		src.tree, src.dir, src.text = m.tree, filepath.Dir(m.path), p.text
	default:
		src.tree, src.dir = m.tree, filepath.Dir(m.path)
		src.text, err = regular.Read(m.path, maxModule)
	}
	if err != nil {
		return nil, err
	}
	src.text = bytes.TrimPrefix(src.text, []byte("\ufeff")) // which editors of Windows write
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sources[m.name] = src
	if m.tree != nil {
		p.read[m.path] = true
	}
	return src.text, nil
}

// suggest adds to each undefined name of a file what was probably meant.
func (r *run) suggest(err error, file *syntax.File) error {
	var list resolve.ErrorList
	if !errors.As(err, &list) {
		return err
	}
	names := append(r.cfg.Predeclared.Keys(), starlark.Universe.Keys()...)
	loaded := namesLoaded(file)
	better := make(resolve.ErrorList, len(list))
	for i, e := range list {
		better[i] = e
		name, undefined := strings.CutPrefix(e.Msg, "undefined: ")
		if undefined && misspelt(&better[i], loaded) || !undefined || strings.Contains(name, " ") {
			continue
		}
		hint := ""
		if r.cfg.Undefined != nil {
			hint = r.cfg.Undefined(name)
		}
		if file := r.libraryOf(name); hint == "" && file != "" {
			hint = fmt.Sprintf("load it first: load(%q, %q)", file, name)
		}
		if hint == "" {
			hint = otherNames[name]
		}
		if n := spell.Nearest(name, names); hint == "" && n != "" {
			hint = fmt.Sprintf("did you mean %s?", n)
		}
		if hint != "" {
			better[i].Msg += " (" + hint + ")"
		}
	}
	return better
}

// misspelt adds to an undefined name that the file loads one of nearly that spelling.
func misspelt(e *resolve.Error, loaded map[string]syntax.Position) bool {
	text, _, _ := strings.Cut(e.Msg, " (") // the resolver's own suggestion
	near := spell.Nearest(strings.TrimPrefix(text, "undefined: "), slices.Sorted(maps.Keys(loaded)))
	if near != "" {
		e.Msg = fmt.Sprintf("%s (line %d loads %q: one of them is misspelt)", text, loaded[near].Line, near)
	}
	return near != ""
}

// namesLoaded returns the names that a file gives to what it loads.
func namesLoaded(file *syntax.File) map[string]syntax.Position {
	names := map[string]syntax.Position{}
	for _, stmt := range file.Stmts {
		if load, ok := stmt.(*syntax.LoadStmt); ok {
			for _, to := range load.To {
				names[to.Name] = to.NamePos
			}
		}
	}
	return names
}
