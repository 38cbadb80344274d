package site

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/builtins/reference"
	"github.com/google/go-cmp/cmp"
)

func sample() *Site {
	return &Site{
		Title: "<acme>",
		Pages: []Page{
			{Name: "index", Group: "Start", Title: "acme", Text: "# acme\n\nSee [guide](guide.md#two-words), `apt.install(m, [])`, `aws(…)`, `bake build -o x`, [outside](../x.go).\n\n```python\nload(\"@acme//x.star\", \"apt\")  # it's \"so\"\nm = apt.install(m, '''a\nb''')\nif True: pass\n```\n"},
			{Name: "guide", Group: "Start", Title: "Guide", Text: "# Guide\n\n## Two words\n\n<script>alert(1)</script>\n\n[export](#aptinstall)\n"},
		},
		Book: &reference.Book{Sections: []*reference.Section{
			{Name: "commands", Title: "Command line", Entries: []reference.Entry{{Name: "bake build", Kind: reference.Command, Title: "bake build [TARGET]"}}},
			{Name: "platforms", Title: "Platforms", Entries: []reference.Entry{{Name: "aws", Kind: reference.Platform, Title: "aws()"}}},
			{Name: "@acme//x.star", Title: "@acme//x.star", Entries: []reference.Entry{{Name: "apt.install", Kind: reference.Function, Signature: "apt.install(m)"}}},
		}},
	}
}

// TestLinks looks at what names in text and in code lead to.
func TestLinks(t *testing.T) {
	files, err := sample().files()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ file, want string }{
		{"index.html", `<a href="guide.html#two-words">guide</a>`},
		{"index.html", `<a href="lib-acme-x.html#aptinstall"><code>apt.install(m, [])</code></a>`},
		{"index.html", `<a href="ref-platforms.html#aws"><code>aws(…)</code></a>`},
		{"index.html", `<a href="ref-commands.html#bake-build-target"><code>bake build -o x</code></a>`},
		{"index.html", `, outside.</p>`}, // files of the repository are not in the site
		{"index.html", `<a href="lib-acme-x.html">&#34;@acme//x.star&#34;</a>`},
		{"index.html", `<span class="c"># it&#39;s &#34;so&#34;</span>`},
		{"index.html", `<a href="lib-acme-x.html#aptinstall">apt.install</a>(m, <span class="s">&#39;&#39;&#39;a` + "\n" + `b&#39;&#39;&#39;</span>)`},
		{"index.html", `<span class="k">if</span> <span class="k">True</span>: <span class="k">pass</span>`},
		{"guide.html", `<a href="lib-acme-x.html#aptinstall">export</a>`},
		{"guide.html", `<title>Guide · &lt;acme&gt;</title>`},
		{"search-index.js", `"u":"guide.html#two-words"`},
	} {
		if !strings.Contains(files[c.file], c.want) {
			t.Errorf("%s has no %s:\n%s", c.file, c.want, files[c.file])
		}
	}
	if strings.Contains(files["guide.html"], "<script>alert") {
		t.Error("a page brings a script")
	}
}

// TestWrite writes a site over an earlier one, whose pages go, and over nothing else.
func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "site")
	s := sample()
	if err := s.Write(dir); err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(dir, "CNAME")
	if err := os.WriteFile(own, []byte("docs.example"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.Pages = s.Pages[:1]
	if err := s.Write(dir); err != nil {
		t.Fatal(err)
	}
	var names []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	want := []string{"CNAME", "bake-doc.txt", "index.html", "lib-acme-x.html", "ref-commands.html", "ref-platforms.html", "search-index.js", "search.js", "style.css"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if err := s.Write(filepath.Dir(own) + "/.."); err == nil {
		t.Error("a folder with other files was taken for a site")
	}
}

// TestNamesOfFiles holds that pages of one name, and of names that no file should have,
// each get a file, and that links find them.
func TestNamesOfFiles(t *testing.T) {
	s := sample()
	s.Pages = append(s.Pages,
		Page{Name: "Index", Group: "Guides", Title: "Another", Text: "# Another\n"},
		Page{Name: "../a b\"<c>?", Group: "Guides", Title: "Odd", Text: "# Odd\n\n[other](Index.md)\n"})
	files, err := s.files()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := files["Index-2.html"]; !ok {
		t.Error("the second index has no file")
	}
	if odd := files["..-a-b--c--.html"]; !strings.Contains(odd, `<a href="Index-2.html">other</a>`) {
		t.Errorf("the odd page is\n%s", odd)
	}
}

// TestToken holds that every text is taken apart whole.
func TestToken(t *testing.T) {
	for _, text := range []string{`"open`, `'''open`, `"a\`, "#", "x.y1(", `"\"" b`, "é(1)"} {
		rest := text
		for rest != "" {
			n := token(rest)
			if n < 1 || n > len(rest) {
				t.Fatalf("%q: token of %d bytes", rest, n)
			}
			rest = rest[n:]
		}
	}
}
