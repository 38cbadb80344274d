package reference_test

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"bake.build/bake/builtins"
	"bake.build/bake/builtins/reference"
	"bake.build/bake/platforms/all"
	"bake.build/bake/runtime/export"
	"bake.build/bake/stdlib"
)

// TestReferenceIsCurrent holds that docs/reference.md is what the code says;
// -update rewrites it.
func TestReferenceIsCurrent(t *testing.T) {
	var got bytes.Buffer
	got.WriteString("# Reference\n\nMade from the code by `make reference`; changes by hand are lost.\n\n")
	err := reference.Write(&got, reference.Sources{
		Builtins:  builtins.Table(),
		Platforms: all.Table(),
		Formats:   export.Formats(),
		Std:       stdlib.FS,
	})
	if err != nil {
		t.Fatal(err)
	}
	const file = "../../docs/reference.md"
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got.Bytes()) {
		t.Errorf("%s is not what the code says: run make reference", file)
	}
}
