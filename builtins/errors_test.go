package builtins

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"bake.build/bake/runtime/plan"
	"bake.build/bake/starlark/eval"
	"go.starlark.net/resolve"
)

var expectation = regexp.MustCompile(`### ("(?:[^"\\]|\\.)*"|` + "`[^`]*`)" + `\s*$`)

// TestErrors evaluates the chunks of testdata/errors/*.star, each a definition
// of its own between lines of "---". A line that ends in
//
//	### "regexp"
//
// fails with an error that matches; a chunk without such a line succeeds.
func TestErrors(t *testing.T) {
	files, err := filepath.Glob("testdata/errors/*.star")
	if err != nil || len(files) == 0 {
		t.Fatal("no definitions", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".star"), func(t *testing.T) {
			line := 1
			for _, chunk := range strings.SplitAfter(string(text), "\n---\n") {
				t.Run(strconv.Itoa(line), func(t *testing.T) { checkChunk(t, strings.TrimSuffix(chunk, "---\n")) })
				line += strings.Count(chunk, "\n")
			}
		})
	}
}

func checkChunk(t *testing.T, chunk string) {
	wantLine, wantText := 0, ""
	for i, line := range strings.Split(chunk, "\n") {
		if m := expectation.FindStringSubmatch(line); m != nil {
			text, err := strconv.Unquote(m[1])
			if err != nil || wantLine != 0 {
				t.Fatalf("line %d: bad or second expectation: %v", i+1, err)
			}
			wantLine, wantText = i+1, text
		} else if strings.Contains(line, "###") {
			t.Fatalf("line %d: bad expectation", i+1)
		}
	}
	dir := t.TempDir()
	writeFiles(t, dir, projectFiles)
	_, _, err := evaluate(t, dir, chunk, nil)
	switch {
	case wantLine == 0 && err != nil:
		t.Errorf("unexpected error: %v at %v", err, lineOf(err))
	case wantLine != 0 && err == nil:
		t.Errorf("line %d: no error, want %q", wantLine, wantText)
	case wantLine != 0 && !regexp.MustCompile(wantText).MatchString(err.Error()):
		t.Errorf("line %d: error %q does not match %q", wantLine, err, wantText)
	case wantLine != 0 && lineOf(err) != wantLine:
		t.Errorf("error at line %d, want %d: %v", lineOf(err), wantLine, err)
	}
}

// lineOf returns the line of images.star where err happened.
func lineOf(err error) int {
	var located *plan.Error
	var list resolve.ErrorList
	frames := eval.Frames(err)
	switch {
	case errors.As(err, &located):
		frames = located.Pos
	case errors.As(err, &list):
		return int(list[0].Pos.Line)
	}
	for _, f := range frames {
		if f.File == "images.star" {
			return f.Line
		}
	}
	return -1
}
