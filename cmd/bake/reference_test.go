package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"bake.build/bake/builtins"
	"bake.build/bake/platforms/all"
	"bake.build/bake/runtime/export"
)

var update = flag.Bool("update", false, "rewrite docs/reference.md")

// TestReferenceIsCurrent holds docs/reference.md to the code.
func TestReferenceIsCurrent(t *testing.T) {
	a := &app{specs: all.Table(), builtins: builtins.Table(), formats: export.Formats()}
	var got bytes.Buffer
	if err := a.writeReference(&got); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("..", "..", "docs", "reference.md")
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Error("docs/reference.md is not what the code says: run make reference")
	}
}
