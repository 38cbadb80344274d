package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/builtins"
	"bake.build/bake/platforms/all"
	"bake.build/bake/runtime/export"
)

// TestTestsOfExamples runs the tests of definitions that the examples have.
func TestTestsOfExamples(t *testing.T) {
	dir, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("BAKE_CACHE_DIR", t.TempDir())
	var stdout, stderr bytes.Buffer
	a := &app{
		specs: all.Table(), builtins: builtins.Table(), formats: export.Formats(),
		stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr,
		dir: dir, getenv: os.Getenv, environ: os.Environ,
	}
	if code := a.main(t.Context(), []string{"test", "golden"}); code != exitOK {
		t.Fatalf("exit %d\n%s%s", code, &stdout, &stderr)
	}
	if !strings.Contains(stdout.String(), "ok    golden/golden_test.star  5 tests") {
		t.Errorf("it says\n%s", &stdout)
	}
}
