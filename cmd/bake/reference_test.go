package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"bake.build/bake/builtins"
	"bake.build/bake/platforms/all"
	"bake.build/bake/runtime/export"
)

var update = flag.Bool("update", false, "rewrite docs/reference.md")

// TestHelpWidth holds that the help of commands fits on a terminal.
func TestHelpWidth(t *testing.T) {
	const widest = 88
	a := &app{specs: all.Table(), builtins: builtins.Table(), formats: export.Formats()}
	lines := 0
	var look func(*cobra.Command)
	look = func(cmd *cobra.Command) {
		for line := range strings.Lines(cmd.Long) {
			lines++
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > widest {
				t.Errorf("%s: %d columns: %s", cmd.CommandPath(), n, line)
			}
		}
		for _, sub := range cmd.Commands() {
			look(sub)
		}
	}
	look(a.command())
	if lines < 100 {
		t.Errorf("only %d lines were found", lines)
	}
}

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
