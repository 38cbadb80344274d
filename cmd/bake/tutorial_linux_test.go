package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"bake.build/bake/internal/markdown"
)

// TestTutorial follows the tutorial in an empty directory: it writes each file that the
// text before it names, and runs each command of the blocks that begin with ```console.
// Those with ```console build need an archive and machines, and take minutes: they run
// where BAKE_TEST_TUTORIAL is set.
func TestTutorial(t *testing.T) {
	text, err := os.ReadFile("../../docs/tutorial.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	reader := &reader{t: t, dir: t.TempDir()}
	t.Setenv("BAKE_CACHE_DIR", filepath.Join(reader.dir, ".cache"))
	builds := os.Getenv("BAKE_TEST_TUTORIAL") != ""
	if cache := os.Getenv("BAKE_TEST_TUTORIAL_CACHE"); cache != "" {
		t.Setenv("BAKE_CACHE_DIR", cache)
	}
	var before markdown.Block
	for _, b := range markdown.Parse(string(text)) {
		fence := ""
		if b.Kind == markdown.Code {
			fence = strings.TrimSpace(lines[b.Line-1])
		}
		switch {
		case fence == "```python":
			reader.write(named(before), b.Text)
		case fence == "```console", fence == "```console build" && builds:
			reader.run(b)
		}
		before = b
	}
	if reader.commands < 4 {
		t.Errorf("only %d commands were found", reader.commands)
	}
}

// A reader does what a page says.
type reader struct {
	t        *testing.T
	dir      string // where the shell is
	commands int
}

// named returns the file that a paragraph speaks of last.
func named(b markdown.Block) string {
	file := ""
	for _, x := range b.Inline {
		if x.Kind == markdown.Span && strings.HasSuffix(x.Text, ".star") {
			file = x.Text
		}
	}
	return file
}

func (r *reader) write(file, text string) {
	path := filepath.Join(r.dir, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r *reader) run(b markdown.Block) {
	for _, part := range strings.Split("\n"+b.Text, "\n$ ")[1:] {
		command, want, _ := strings.Cut(part, "\n")
		r.commands++
		if dir, ok := strings.CutPrefix(command, "cd "); ok {
			r.dir = filepath.Join(r.dir, dir)
			continue
		}
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir = r.dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			r.t.Errorf("line %d: %s: %v\n%s", b.Line, command, err, out)
			continue
		}
		if !expected(want).Match(out) {
			r.t.Errorf("line %d: %s prints\n%s\nwant\n%s", b.Line, command, out, want)
		}
	}
}

var (
	hex   = regexp.MustCompile(`\b[0-9a-f]{12}\b`)
	date  = regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:]+Z`)
	dates = `\d{4}-\d\d-\d\dT[\d:]+Z`
)

// expected matches output as the page shows it: keys and dates differ, and … is any text.
func expected(want string) *regexp.Regexp {
	text := regexp.QuoteMeta(strings.TrimSpace(want))
	text = hex.ReplaceAllString(text, "[0-9a-f]{12}")
	text = date.ReplaceAllStringFunc(text, func(string) string { return dates })
	return regexp.MustCompile(`(?s)^\s*` + strings.ReplaceAll(text, "…", ".*?") + `\s*$`)
}
