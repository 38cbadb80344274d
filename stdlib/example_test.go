package stdlib_test

import (
	"strings"
	"testing"

	"bake.build/bake/builtins/reference"
	"bake.build/bake/starlark/doc"
	"bake.build/bake/stdlib"
)

// TestExamples holds that each function shows a call of it. That examples are right
// and arguments described is what "bake doc --check @bake" looks at.
func TestExamples(t *testing.T) {
	files, err := reference.Tree{FS: stdlib.FS, Prefix: "@bake//"}.Files(".")
	if err != nil || len(files) < 15 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, file := range files {
		if len(file.Doc.Examples) == 0 {
			t.Errorf("%s: no example", file.Name)
		}
		for _, s := range file.Symbols {
			if s.Kind != doc.Function || s.File != file.Name {
				continue
			}
			if len(s.Doc.Examples) == 0 || !strings.Contains(s.Doc.Examples[0].Code, s.Name+"(") {
				t.Errorf("%s:%d: no example calls %s", file.Name, s.Line, s.Name)
			}
		}
	}
}
