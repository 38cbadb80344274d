package eval

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"go.starlark.net/starlark"
)

// A visibility says which files may load a file: those of the packages that it lists,
// and those beside it. A package is a directory. The zero visibility is public.
type visibility struct {
	set   bool
	specs []string
}

// runName is the key of the thread's local that holds the run.
const runName = "bake.run"

// SetVisibility says who may load the file whose top level thread is running:
// everyone ("public"), the files beside it ("private"), or those of packages of its
// module: "//lib" for one, "//lib/..." for it and what is below, "-//lib" for all but
// it. It is called at most once in a file.
func SetVisibility(thread *starlark.Thread, specs []string) error {
	r, _ := thread.Local(runName).(*run)
	if r == nil || len(r.loading) == 0 {
		return errors.New("no file is being loaded")
	}
	m := r.loading[len(r.loading)-1]
	if stack := Stack(thread); len(stack) == 0 || stack[0].Func != "" || stack[0].File != m.name {
		return errors.New("call it at the top of a file, outside of functions: it says who may load the file that it stands in")
	}
	if m.visible.set {
		return errors.New("it is called twice in this file")
	}
	for _, spec := range specs {
		if err := checkSpec(spec); err != nil {
			return err
		}
		if (spec == "public" || spec == "private") && len(specs) > 1 {
			return fmt.Errorf("%q stands alone", spec)
		}
	}
	m.visible = visibility{true, specs}
	return nil
}

func checkSpec(spec string) error {
	if spec == "public" || spec == "private" {
		return nil
	}
	rest, ok := strings.CutPrefix(strings.TrimPrefix(spec, "-"), "//")
	dir := strings.TrimSuffix(strings.TrimSuffix(rest, "..."), "/")
	if !ok || strings.Contains(dir, "...") || rest != "" && dir != "" && path.Clean("/"+dir) != "/"+dir {
		return fmt.Errorf("%q: want \"public\", \"private\", or packages of this module such as \"//lib\" or \"//lib/...\"", spec)
	}
	return nil
}

// check returns why the file from may not load m, or nil.
func (v visibility) check(m, from *module) error {
	if !v.set || len(v.specs) == 1 && v.specs[0] == "public" {
		return nil
	}
	pkg := from.pkg()
	if m.tree == from.tree {
		if pkg == m.pkg() || v.lists(pkg) {
			return nil
		}
	}
	list := strings.Join(v.specs, ", ")
	if list == "" {
		list = "private"
	}
	return fmt.Errorf("%s may not be loaded from here: its visibility is %s", m.name, list)
}

// lists reports whether the specifications have the package pkg.
func (v visibility) lists(pkg string) bool {
	listed := false
	for _, spec := range v.specs {
		positive, minus := strings.CutPrefix(spec, "-")
		if minus && matchesPackage(positive, pkg) {
			return false
		}
		listed = listed || !minus && matchesPackage(spec, pkg)
	}
	return listed
}

func matchesPackage(spec, pkg string) bool {
	dir, ok := strings.CutPrefix(spec, "//")
	if !ok {
		return false
	}
	if below, deep := strings.CutSuffix(dir, "..."); deep {
		below = strings.TrimSuffix(below, "/")
		return below == "" || pkg == below || strings.HasPrefix(pkg, below+"/")
	}
	return pkg == dir
}

// pkg returns the directory of the file from its module's root, "" for the root.
func (m *module) pkg() string {
	dir := path.Dir(m.path)
	if m.tree != nil {
		rel, err := filepath.Rel(m.tree.Root, filepath.Dir(m.path))
		if err != nil {
			return ""
		}
		dir = filepath.ToSlash(rel)
	}
	if dir == "." {
		return ""
	}
	return dir
}
