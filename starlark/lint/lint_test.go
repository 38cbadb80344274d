package lint

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"bake.build/bake/stdlib"
)

// newLinter returns a linter for files that are given by their paths.
func newLinter(rules []Rule, others map[string]string) *Linter {
	language := Language{Functions: map[string]Function{}}
	for _, name := range []string{"source", "shell", "shell_local", "copy", "write", "reboot"} {
		language.Functions[name] = Function{Layer: true}
	}
	for _, name := range []string{"export", "test", "param", "secret", "rootfs", "qemu", "read_file", "glob", "struct", "output"} {
		language.Functions[name] = Function{}
	}
	language.Functions["old"] = Function{Deprecated: "new() does the same", Args: map[string]string{}}
	language.Functions["new"] = Function{Args: map[string]string{"size": "give space"}}
	return &Linter{
		Rules: rules, Language: language,
		Read: func(from, name string) ([]byte, string, error) {
			if file, ok := strings.CutPrefix(name, "@bake//"); ok {
				b, err := fs.ReadFile(stdlib.FS, file)
				return b, name, err
			}
			at := path.Join(path.Dir(from), name)
			if text, ok := others[at]; ok {
				return []byte(text), at, nil
			}
			return nil, "", fs.ErrNotExist
		},
		IsDir: func(from, name string) bool {
			return slices.ContainsFunc(slices.Collect(maps.Keys(others)), func(p string) bool {
				return strings.HasPrefix(p, path.Join(path.Dir(from), name)+"/")
			})
		},
	}
}

// lines writes findings as "file:line:col rule: message".
func lines(findings []Finding) []string {
	all := []string{}
	for _, f := range findings {
		all = append(all, fmt.Sprintf("%s:%d:%d %s: %s", f.File, f.Line, f.Col, f.Rule, f.Message))
	}
	return all
}

// TestRules holds that each rule finds something in what it says is wrong, and that no
// rule does in what is right.
func TestRules(t *testing.T) {
	names := Names(Rules())
	if !slices.IsSorted(names) {
		t.Errorf("rules are not in the order of their names: %q", names)
	}
	for _, r := range Rules() {
		t.Run(r.Name, func(t *testing.T) {
			found := newLinter(Rules(), nil).Definition("images.star", "images.star", []byte(r.Wrong))
			if !slices.ContainsFunc(found, func(f Finding) bool { return f.Rule == r.Name }) {
				t.Errorf("nothing is found in what is wrong, but %q", lines(found))
			}
			for _, f := range found {
				if f.Rule == r.Name && len(f.Fix) > 0 && r.Fix == "" {
					t.Errorf("the documentation does not say what --fix does: %v", f)
				}
			}
			if found := newLinter(Rules(), nil).Definition("images.star", "images.star", []byte(r.Right)); len(found) > 0 {
				t.Errorf("found in what is right: %q", lines(found))
			}
			if r.Doc == "" || !strings.HasSuffix(r.Doc, ".") || r.Severity == "" {
				t.Errorf("the documentation is not whole: %+v", r)
			}
		})
	}
}
