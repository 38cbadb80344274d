package markdown

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	gmparser "github.com/yuin/goldmark/parser"
)

// other is what the library for all of CommonMark makes of a page.
func other(t *testing.T, text string) string {
	t.Helper()
	md := goldmark.New(goldmark.WithExtensions(extension.Table), goldmark.WithParserOptions(gmparser.WithAutoHeadingID()))
	var b bytes.Buffer
	if err := md.Convert([]byte(text), &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

var (
	space   = regexp.MustCompile(`\s+`)
	ids     = regexp.MustCompile(`<h(\d) id="[^"]*">`)
	ours    = regexp.MustCompile(`<div class="table" tabindex="0">|</div>| tabindex="0"| scope="row"|<thead>.*?</thead>|</?tbody>`)
	theirs  = regexp.MustCompile(`<thead>.*?</thead>|</?tbody>| style="[^"]*"`)
	heads   = regexp.MustCompile(`</?th>`)
	comment = regexp.MustCompile(`<!--.*?-->|<!-- raw HTML omitted -->`)
)

// same brings both to one form: white space, the anchors of headings, which differ
// by rule, and what is added to tables do not count.
func same(text string, drop *regexp.Regexp) string {
	text = space.ReplaceAllString(text, " ")
	text = strings.NewReplacer("&#39;", "'", "&#34;", "&quot;").Replace(text)
	text = comment.ReplaceAllString(text, "")
	text = ids.ReplaceAllString(drop.ReplaceAllString(text, ""), "<h$1>")
	text = space.ReplaceAllString(text, " ")
	text = heads.ReplaceAllStringFunc(text, func(tag string) string { return strings.Replace(tag, "th", "td", 1) })
	text = strings.NewReplacer("> <", "><", "\n", "", "> ", ">", " <", "<").Replace(text)
	return strings.ReplaceAll(text, "><", ">\n<")
}

// TestPages compares what is made of this project's pages with the library's.
func TestPages(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(pages) < 5 {
		t.Fatalf("pages %v, %v", pages, err)
	}
	for _, path := range append(pages, "../../README.md", "../../CHANGELOG.md", "../../CONTRIBUTING.md", "../../SECURITY.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, path, string(text))
	}
}

func compare(t *testing.T, name, text string) {
	t.Helper()
	got, want := same(HTML(Parse(text), Options{}), ours), same(other(t, text), theirs)
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-library +ours):\n%s", name, diff)
	}
}

// TestForms holds single forms against the library.
func TestForms(t *testing.T) {
	for _, text := range []string{
		"one\ntwo\n\nthree",
		"# A `b` *c*\n\ntext\n## D ##\n### E #f",
		"- a\n- b\n  c\n- d\n\nafter",
		"- a\n\n- b\n",
		"- a\n\n  more\n- b",
		"- a\n  - b\n    - c\n- d",
		"3. a\n4. b\n\n1) c",
		"* a\n+ b",
		"- ```sh\n  x\n\n  y\n  ```\n- b",
		"text\n- a\nlazy\n- b",
		"text\n2. no list",
		"```python\na < b\n\n  c\n```\nafter",
		"````\n```\n````",
		"~~~\nopen",
		"    code\n\n      more\n\ntext",
		"> quote\nlazy\n> - a\n\nafter",
		"---\n\n***\n\ntext",
		"| a | b |\n|---|:-:|\n| `x` | y *z* |\n| 1 |\n\nafter",
		"no | table\nhere | either",
		"*a* **b** ***c*** _d_ __e__ snake_case_name a*b*c 2 * 3 * 4 **open",
		"*a `*` b* and \\*not\\* \\a",
		"`` a ` b `` `c` ``open",
		"[a](b.md) [`c`](d.md#e) ![alt](i.png) [no] [no](x y) <https://example.com/a?b=c&d> \\[x](y)",
		"[a [b] c](d) [e](f(g)h) [x](<y>)",
		"a  \nb\\\nc",
		"a & b &lt; \"q\" 'r'",
		"5 < 6 > 4",
		"1. a\n\n   ```\n   x\n   ```\n\n2. b",
		"-\n- a",
		"#no heading\n#\n",
		"**bold:** text, *em.*",
		"a **b *c* d** e",
	} {
		t.Run(text, func(t *testing.T) {
			text = strings.ReplaceAll(text, "&lt;", "lt") // entities are text here
			compare(t, "form", text)
		})
	}
}

// TestTables shows how tables are written, and cells with bars.
func TestTables(t *testing.T) {
	got := HTML(Parse("| a | b |\n|---|---|\n| `x\\|y` | z |\n"), Options{})
	if !strings.Contains(got, "<td><code>x|y</code></td>") || !strings.Contains(got, `<th scope="col">a</th>`) {
		t.Errorf("table:\n%s", got)
	}
	got = HTML(Parse("| | |\n|---|---|\n| needs | Linux |\n"), Options{})
	if strings.Contains(got, "thead") || !strings.Contains(got, "<th scope=\"row\">needs</th>\n<td>Linux</td>") {
		t.Errorf("table without a head:\n%s", got)
	}
}

// TestCode holds that a block of code is the file that it shows.
func TestCode(t *testing.T) {
	for text, want := range map[string]string{"```x y\na\n\n  b\n```\n": "a\n\n  b\n", "```\n```": "", "    a\n": "a\n"} {
		if got := Parse(text); len(got) != 1 || got[0].Text != want {
			t.Errorf("%q is %+v, want %q", text, got, want)
		}
	}
}

func TestAnchors(t *testing.T) {
	blocks := Parse("# rootfs()\n## What a step sees\n## `--on-error`: x\n## rootfs()\n")
	var got []string
	Walk(blocks, func(b Block) { got = append(got, b.ID) })
	if diff := cmp.Diff([]string{"rootfs", "what-a-step-sees", "--on-error-x", "rootfs-1"}, got); diff != "" {
		t.Errorf("anchors (-want +got):\n%s", diff)
	}
}

// TestHostile holds that pages cannot bring HTML or scripts.
func TestHostile(t *testing.T) {
	for _, text := range []string{
		"<script>alert(1)</script>", "a <img src=x onerror=alert(1)>", "[x](javascript:alert(1))", "[x](JaVaScript:alert(1))",
		"[x](data:text/html,hi)", "![x](vbscript:y)", "```\"><script>\n</code><script>\n```", "[x](\"onmouseover=alert(1))", "# <script>",
		"<https://x\"onclick=>", "[x](a\"b)", "[x]( javascript:alert(1))", "[x](\tjavascript:alert(1))",
	} {
		got := HTML(Parse(text), Options{})
		rest := got
		for rest != "" { // every tag is one of ours
			_, tag, ok := strings.Cut(rest, "<")
			if !ok {
				break
			}
			tag, rest, _ = strings.Cut(tag, ">")
			if !regexp.MustCompile(`^/?(p|pre|pre tabindex="0"|code|code class="language-[^"]*"|h1 id="[^"]*"|h1|a|a href="[^"]*"|img src="[^"]*" alt="[^"]*")$`).MatchString(tag) {
				t.Errorf("%q gives <%s>", text, tag)
			}
			if strings.Contains(strings.ToLower(tag), "script:") || strings.Contains(tag, "data:") {
				t.Errorf("%q gives <%s>", text, tag)
			}
		}
	}
}

func TestShow(t *testing.T) {
	got := Show(Parse("# Title\n\nA *long* line with `code spans`, of which\nthe words wrap. [Link](https://x.example).\n\n- one\n- two words that are wrapped here\n\n```\ncode\n```\n\n| a | b |\n|---|---|\n| `x` | y |\n\n| name | default | meaning |\n|---|---|---|\n| `size` | what the parent has, or no limit | How large it is, at most, in bytes of memory, and what happens then. |\n| `n` | one for each of the CPUs | How many. |\n"), Style{Width: 40})
	want := `Title

    A long line with code spans, of
    which the words wrap. Link
    (https://x.example).

    - one
    - two words that are wrapped here

        code

    a  b
    x  y

    size
        How large it is, at most, in
        bytes of memory, and what
        happens then.
        default: what the parent has, or
        no limit
    n  default: one for each of the CPUs
        How many.
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := Show(Parse("`a` b"), Style{Color: true}); got != "    \x1b[36ma\x1b[0m b\n" {
		t.Errorf("in colour %q", got)
	}
}

// FuzzParse holds that no text fails, hangs or brings tags of its own.
func FuzzParse(f *testing.F) {
	f.Add("# a\n- b\n  > c `d`\n\n| e |\n|---|\n| f |\n[g](h) **i**")
	f.Add(strings.Repeat("[", 50) + strings.Repeat("*", 50) + strings.Repeat("`", 50))
	f.Fuzz(func(t *testing.T, text string) {
		blocks := Parse(text)
		if got := HTML(blocks, Options{}); strings.Contains(got, "<script") {
			t.Errorf("%q gives %q", text, got)
		}
		Show(blocks, Style{})
	})
}
