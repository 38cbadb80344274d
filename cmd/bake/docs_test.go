package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"bake.build/bake/builtins"
	"bake.build/bake/builtins/reference"
	"bake.build/bake/builtins/reference/site"
	"bake.build/bake/docs"
	"bake.build/bake/internal/markdown"
	"bake.build/bake/internal/need"
	"bake.build/bake/platforms/all"
	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/export"
	"bake.build/bake/starlark/doc"
	"bake.build/bake/starlark/eval"
	"bake.build/bake/starlark/format"
	"go.starlark.net/starlark"
)

func docApp() *app {
	return &app{
		specs: all.Table(), builtins: builtins.Table(), formats: export.Formats(),
		getenv: func(string) string { return "" }, environ: func() []string { return nil },
	}
}

// pageTexts returns the pages that people read: those of docs, and the README.
func pageTexts(t *testing.T) map[string]string {
	t.Helper()
	pages := map[string]string{}
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(files) < 10 {
		t.Fatalf("pages: %v, %v", files, err)
	}
	for _, path := range append(files, "../../README.md", "../../CONTRIBUTING.md", "../../SECURITY.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		pages[path] = string(text)
	}
	return pages
}

// TestPagesAreListed holds that bake doc and the site have every page.
func TestPagesAreListed(t *testing.T) {
	listed := map[string]bool{"reference": true}
	for _, p := range docs.Pages() {
		listed[p.Name] = true
		text, err := p.Text()
		if err != nil || !strings.HasPrefix(text, "# "+p.Title+"\n") {
			t.Errorf("%s: the page begins with %.30q, want its title %q; %v", p.Name, text, p.Title, err)
		}
	}
	for path := range pageTexts(t) {
		if name := strings.TrimSuffix(filepath.Base(path), ".md"); strings.Contains(path, "docs/") && !listed[name] {
			t.Errorf("docs.Pages has no %s", name)
		}
	}
}

// TestPageLinks follows every link between pages, to its heading.
func TestPageLinks(t *testing.T) {
	anchors := func(path string) map[string]bool {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		ids := map[string]bool{}
		markdown.Walk(markdown.Parse(string(text)), func(b markdown.Block) { ids[b.ID] = true })
		return ids
	}
	checked := 0
	for path, text := range pageTexts(t) {
		markdown.Links(markdown.Parse(text), func(b markdown.Block, x markdown.Inline) {
			if strings.Contains(x.Dest, "://") {
				return
			}
			checked++
			file, anchor, _ := strings.Cut(x.Dest, "#")
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s:%d: link to %s: no such file", path, b.Line, x.Dest)
			} else if anchor != "" && !anchors(target)[anchor] {
				t.Errorf("%s:%d: link to %s: no such heading", path, b.Line, x.Dest)
			}
		})
	}
	if checked < 20 {
		t.Errorf("only %d links were found", checked)
	}
}

// TestHintsAreExplained holds that every hint for a failed step leads to a heading of the
// page troubleshooting.
func TestHintsAreExplained(t *testing.T) {
	text, err := os.ReadFile("../../docs/" + troubleshooting + ".md")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{pageCommand, pageTrace, pageDisk, pageOutput}
	for _, p := range patterns {
		names = append(names, p.page)
	}
	for _, name := range names {
		if part := markdown.Part(string(text), name); len(part) < 100 {
			t.Errorf("no part of the page is called %q", name)
		}
	}
}

// pageNames are what code on a page may use without saying what it is.
var pageNames = map[string]string{
	"layer": `source(rootfs(), debian = "bookworm")`,
	"base":  `source(rootfs(), debian = "bookworm", packages = ["linux-image-amd64"])`,
	"image": `source(rootfs(), debian = "bookworm", packages = ["linux-image-amd64"])`,
	"eu":    `aws(region = "eu-west-1")`,
}

// TestPageCode evaluates the Starlark of every page to a plan. A block that begins
// with ```python fragment is a part of something, and is only parsed.
func TestPageCode(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"BAKE_ROOT": "docs\n", "site/index.html": "hello\n", "site/preseed.cfg": "\n", "nginx.conf": "\n", "ansible/site.yml": "\n",
		"lib/hardening.star": "def harden(layer):\n    return layer\n",
		"lib/users.star":     "def admins(layer):\n    return layer\n",
		"lib/golden.star":    "def golden(layer, key):\n    return layer\n",
		"bake.mod":           "module(\"docs.example/docs\")\n\nrequire(\n    \"acme.example/golden\",\n    name = \"acme\",\n    source = \"file:acme\",\n)\n",
		"acme/bake.mod":      "module(\"acme.example/golden\")\n",
		"acme/golden.star":   "def golden(layer):\n    return layer\n",
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	a := docApp()
	a.dir = dir
	evaluated := 0
	for path, text := range pageTexts(t) {
		if filepath.Base(path) == "reference.md" {
			continue // its examples are those of docstrings
		}
		markdown.Walk(markdown.Parse(text), func(b markdown.Block) {
			if b.Kind != markdown.Code || b.Lang != "python" && b.Lang != "starlark" {
				return
			}
			where := fmt.Sprintf("%s:%d", path, b.Line)
			if strings.Contains(strings.Split(text, "\n")[b.Line-1], "fragment") {
				if _, err := eval.Dialect().Parse(where, b.Text, 0); err != nil {
					t.Error(err)
				}
				return
			}
			evaluated++
			if text, err := format.Source(where, []byte(b.Text)); err != nil || string(text) != b.Text && strings.Contains(path, "docs/") {
				t.Errorf("%s: %v; bake fmt writes it so:\n%s", where, err, text)
			}
			if strings.Contains(b.Text, `"""`) {
				checkDocstrings(t, where, b.Text)
			}
			if err := evaluatePiece(t.Context(), a, dir, b.Text); err != nil {
				t.Errorf("%s: %v\n%s", where, err, b.Text)
			}
		})
	}
	if evaluated < 20 {
		t.Errorf("only %d blocks of code were evaluated", evaluated)
	}
}

// checkDocstrings holds that bake doc --check has nothing to say of code that shows how
// docstrings are written.
func checkDocstrings(t *testing.T, where, code string) {
	t.Helper()
	f, err := doc.Parse(where, []byte(code))
	if err != nil {
		t.Error(err)
		return
	}
	for _, found := range f.Check() {
		if !strings.HasSuffix(found.Text, "no docstring") {
			t.Error(found)
		}
	}
}

func evaluatePiece(ctx context.Context, a *app, dir, code string) error {
	known := starlark.StringDict{"struct": nil, "json": nil, "math": nil}
	for _, b := range a.builtins {
		known[b.Name] = nil
	}
	for _, p := range a.specs {
		known[p.Name] = nil
	}
	free, err := doc.Free(code, known.Has)
	if err != nil {
		return err
	}
	begin := ""
	for _, name := range free {
		if text, ok := pageNames[name]; ok {
			begin += name + " = " + text + "\n"
		}
	}
	return build.EvaluateExample(ctx, a.config(nil), build.Example{
		Example: doc.Example{Code: begin + code, Line: 2}, Path: filepath.Join(dir, "page.star"),
	})
}

var (
	attribute = regexp.MustCompile(` (href|src|id)="([^"]*)"`)
	unescape  = strings.NewReplacer("&#34;", `"`, "&#39;", "'", "&lt;", "<", "&gt;", ">", "&amp;", "&")
)

// TestSite writes the project's own site, and follows all links in it. They lead to files
// of the site, to headings that are there, or to other sites; no script or style is from
// elsewhere.
func TestSite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "site")
	a := docApp()
	a.dir, a.stdout = dir, &strings.Builder{}
	for range 2 { // the second time over the first
		if err := a.writeSite(t.Context(), nil, dir); err != nil {
			t.Fatal(err)
		}
	}
	links := checkSite(t, dir)
	if links < 1000 {
		t.Errorf("only %d links were found", links)
	}
	if err := os.WriteFile(filepath.Join(dir, "stale.html"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "x"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := (&site.Site{Book: &reference.Book{}}).Write(other); err == nil {
		t.Error("a site was written over other files")
	}
}

// checkSite follows the links of a site, and returns how many there were.
func checkSite(t *testing.T, dir string) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.html"))
	if err != nil {
		t.Fatal(err)
	}
	ids, links := map[string]map[string]bool{}, map[string][]string{}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(path)
		ids[name] = map[string]bool{}
		for _, m := range attribute.FindAllStringSubmatch(string(text), -1) {
			value := unescape.Replace(m[2])
			switch {
			case m[1] == "id" && ids[name][value]:
				t.Errorf("%s: two elements have the id %q", name, value)
			case m[1] == "id":
				ids[name][value] = true
			case m[1] == "src" && strings.Contains(value, "/"):
				t.Errorf("%s: %s is not of the site", name, value)
			default:
				links[name] = append(links[name], value)
			}
		}
	}
	count := 0
	for name, list := range links {
		for _, link := range list {
			count++
			if strings.Contains(link, "://") {
				continue
			}
			file, anchor, _ := strings.Cut(link, "#")
			if file == "" {
				file = name
			}
			if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
				t.Errorf("%s: link to %s: no such file", name, link)
			} else if anchor != "" && !ids[file][anchor] {
				t.Errorf("%s: link to %s: no such heading", name, link)
			}
		}
	}
	return count
}

// TestSiteIsHTML lets HTML Tidy judge the pages. It knows no aria-current.
func TestSiteIsHTML(t *testing.T) {
	need.Tool(t, "tidy")
	dir := t.TempDir()
	a := docApp()
	a.dir, a.stdout = dir, &strings.Builder{}
	if err := a.writeSite(t.Context(), nil, dir); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.html"))
	if err != nil {
		t.Fatal(err)
	}
	out, _ := exec.Command("tidy", append([]string{"-q", "-e", "-utf8"}, files...)...).CombinedOutput() // its status is 1 for any warning
	for line := range strings.Lines(string(out)) {
		if !strings.Contains(line, "aria-current") {
			t.Error(strings.TrimSpace(line))
		}
	}
}

// TestPacker lets Packer judge the HCL that is compared with bake's.
func TestPacker(t *testing.T) {
	need.Tool(t, "packer")
	text, err := os.ReadFile("../../docs/packer.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "site"), 0o755); err != nil {
		t.Fatal(err)
	}
	n := 0
	markdown.Walk(markdown.Parse(string(text)), func(b markdown.Block) {
		if b.Kind != markdown.Code || b.Lang != "hcl" {
			return
		}
		n++
		path := filepath.Join(dir, fmt.Sprintf("%d.pkr.hcl", n))
		if err := os.WriteFile(path, []byte(b.Text), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("packer", "validate", path)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1", "PACKER_CONFIG_DIR="+dir, "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("line %d: packer validate: %v\n%s", b.Line, err, out)
		}
	})
	if n < 4 {
		t.Errorf("only %d templates were found", n)
	}
}
