package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// TestRepositoryIsClean holds that bake has nothing to say about the definitions of
// this repository.
func TestRepositoryIsClean(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"fmt", "--check"}, {"lint"}, {"check", "examples"}} {
		t.Run(args[0], func(t *testing.T) {
			a := docApp()
			var out, errs bytes.Buffer
			a.dir, a.stdin, a.stdout, a.stderr = root, strings.NewReader(""), &out, &errs
			if code := a.main(t.Context(), args); code != exitOK || out.Len() > 0 {
				t.Errorf("bake %s: exit code %d\n%s%s", strings.Join(args, " "), code, &out, &errs)
			}
		})
	}
}
