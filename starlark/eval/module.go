package eval

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
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
	lib     string // the library it is of, such as "bake"; "" for the project
	path    string // absolute, or within the library
	fsys    fs.FS  // the library; nil for the project
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
	if strings.HasPrefix(name, "@") {
		lib, file, ok := strings.Cut(name[1:], "//")
		if !ok {
			lib, file, _ = strings.Cut(name[1:], "/")
			if file == "" {
				file = "x.star"
			}
			return nil, fmt.Errorf("%q: the name of a library ends with two slashes: \"@%s//%s\"", name, lib, file)
		}
		fsys, err := r.library(lib)
		if err != nil {
			return nil, err
		}
		return r.libraryModule(lib, fsys, file)
	}
	if from.fsys != nil {
		file, rooted := strings.CutPrefix(name, "//")
		if !rooted {
			file = path.Join(path.Dir(from.path), name)
		}
		return r.libraryModule(from.lib, from.fsys, file)
	}
	abs, err := r.cfg.Project.Path(filepath.Dir(from.path), name)
	if err != nil {
		if r.cfg.Std != nil && fs.ValidPath(name) {
			if _, statErr := fs.Stat(r.cfg.Std, name); statErr == nil {
				err = fmt.Errorf("%w; the shipped library has one: \"@bake//%s\"", err, name)
			}
		}
		return nil, err
	}
	return r.module(module{name: r.cfg.Project.Show(abs), path: abs}), nil
}

func (r *run) library(lib string) (fs.FS, error) {
	if lib == "bake" && r.cfg.Std != nil {
		return r.cfg.Std, nil
	}
	if r.cfg.Library == nil {
		if spell.Nearest(lib, []string{"bake"}) != "" {
			return nil, fmt.Errorf("@%s is not known (did you mean @bake?)", lib)
		}
		return nil, fmt.Errorf("@%s is not known: modules of other teams are not configured, the shipped library is @bake", lib)
	}
	return r.cfg.Library(lib)
}

func (r *run) libraryModule(lib string, fsys fs.FS, file string) (*module, error) {
	if file == "" || !fs.ValidPath(file) {
		return nil, fmt.Errorf("@%s//%s is not the name of a file of the library", lib, file)
	}
	if _, err := fs.Stat(fsys, file); err != nil {
		hint := ""
		if entries, err := fs.ReadDir(fsys, path.Dir(file)); err == nil {
			hint = spell.Hint(path.Base(file), "there are", entryNames(entries, ".star"))
		}
		return nil, fmt.Errorf("no file %q in @%s%s", file, lib, hint)
	}
	return r.module(module{name: "@" + lib + "//" + file, lib: lib, path: file, fsys: fsys}), nil
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
	guard(file)
	prog, err := starlark.FileProgram(file, r.cfg.Predeclared.Has)
	if err != nil {
		return nil, r.suggest(err)
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
	case m.fsys != nil:
		src.text, err = fs.ReadFile(m.fsys, m.path)
	case m.path == p.Definition && p.text != nil:
		src.dir, src.text = filepath.Dir(m.path), p.text
	default:
		src.dir = filepath.Dir(m.path)
		src.text, err = regular.Read(m.path, maxModule)
	}
	if err != nil {
		return nil, err
	}
	src.text = bytes.TrimPrefix(src.text, []byte("\ufeff")) // which editors of Windows write
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sources[m.name] = src
	if m.fsys == nil {
		p.read[m.path] = true
	}
	return src.text, nil
}

// suggest adds to each undefined name what was probably meant.
func (r *run) suggest(err error) error {
	var list resolve.ErrorList
	if !errors.As(err, &list) {
		return err
	}
	names := append(r.cfg.Predeclared.Keys(), starlark.Universe.Keys()...)
	better := make(resolve.ErrorList, len(list))
	for i, e := range list {
		better[i] = e
		name, undefined := strings.CutPrefix(e.Msg, "undefined: ")
		if !undefined || strings.Contains(name, " ") {
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
