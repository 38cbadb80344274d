package spec_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"bake.build/bake/builtins"
	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/fake"
	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/spec"
	"bake.build/bake/starlark/diag"
)

func render(w io.Writer, err error, source func(string) ([]byte, error)) error {
	return diag.Render(w, err, diag.Options{Source: source})
}

// project writes files into a directory, and returns the configuration of a program with
// two fake platforms that works there.
func project(t *testing.T, files map[string]string) build.Config {
	t.Helper()
	dir := t.TempDir()
	files["BAKE_ROOT"] = "example"
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return build.Config{
		Platforms: []platforms.Spec{fake.Spec("fake", &fake.Driver{}), fake.Spec("cloud", &fake.Driver{ID: "cloud"})},
		Builtins:  builtins.Table(),
		Formats:   export.Formats(),
		Dir:       dir,
		StoreDir:  filepath.Join(t.TempDir(), "store"),
		Environ:   os.Environ(),
	}
}

// results is a Reporter that keeps what it is told.
type results struct {
	total int
	all   []spec.Result
	sum   spec.Summary
}

func (r *results) Begin(n int) error          { r.total = n; return nil }
func (r *results) Result(x spec.Result) error { r.all = append(r.all, x); return nil }
func (r *results) End(s spec.Summary) error   { r.sum = s; return nil }
func (r *results) of(name string) spec.Result { return r.all[r.index(name)] }

func (r *results) index(name string) int {
	for i, x := range r.all {
		if x.Name == name {
			return i
		}
	}
	return len(r.all)
}

// text is how a failed test is shown.
func text(t *testing.T, r spec.Result) string {
	t.Helper()
	var b strings.Builder
	for _, err := range r.Errors {
		if err := render(&b, err, r.Source); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func run(t *testing.T, c build.Config, o spec.Options) *results {
	t.Helper()
	if o.Paths == nil {
		o.Paths = []string{"."}
	}
	r := &results{}
	s, err := spec.Run(t.Context(), c, o, r)
	if err != nil {
		t.Fatal(err)
	}
	if s != r.sum || s.Total() != r.total {
		t.Errorf("counted %+v, reported %+v of %d", s, r.sum, r.total)
	}
	return r
}

const definitionText = `
version = param("version", default = "dev")
c = cloud()
m = write(source(c, text = "origin"), "/version", version)
m = copy(m, "site/", "/var/www/")
if version == "dev":
    m = shell(m, "touch /dev")
export(m, "web", formats = ["tar"])
test(m, "true", name = "works")
`

const library = `"""Steps."""

def web(base, fast = False):
    """The web server."""
    if fast: return base
    m = shell(base, "install nginx")
    return write(m, "/etc/web", "1\n")

def never(x):
    y = [x
        for x in range(3)]
    return y
`

// TestPasses runs what a test can do where it holds.
func TestPasses(t *testing.T) {
	c := project(t, map[string]string{
		"images.star": definitionText, "site/index.html": "hello", "lib/web.star": library,
		"lib/web_test.star": `
load("web.star", "web")

base = source(fake(), text = "x")

def test_steps(t):
    p = t.plan(web(base))
    t.equal([s.kind for s in p.steps], ["source", "shell", "write"])
    t.equal(p.scripts, ["install nginx"])
    t.equal((p.platform, p.name), ("fake", "write: /etc/web"))
    t.equal(p.steps[2].data, {"path": "/etc/web", "content": "1\n", "mode": "0644"})
    t.equal(p.steps[1].at, "lib/web.star:6")
    t.equal(p.keys[-1], p.key)
    t.match(p.key, "^[0-9a-f]{64}$")
    t.not_equal(p.key, t.plan(write(base, "/etc/web", "1\n")).key)
    t.equal(p.key, t.plan(web(base)).key, "equal steps")
    t.golden(p)
    t.true(t.equal(1, 1) and t.contains("abc", "b") and t.contains({"a": 1}, "a") and t.false([]))
    t.equal(t.name, "test_steps")

def test_definition(t):
    d = t.definition("//images.star", params = {"version": "7"})
    t.equal((d.artifacts.keys(), d.tests, d.params, d.secrets), (["web"], ["works"], {"version": "7"}, []))
    p = t.plan(d.artifacts["web"])
    t.equal([s.kind for s in p.steps], ["source", "write", "copy", "export"])
    t.equal([(i.path, i.size) for i in p.inputs], [("//site", 5)])
    t.equal(p.steps[0].platform, "cloud")
    t.equal(t.definition("//images.star").params["version"], "dev", "neither of the environment nor of another call")
    t.equal(t.plan(write(d.globals["m"], "/x", "")).steps[-1].platform, "cloud")
    t.equal(len(t.plan(d).steps), 5)

def test_replaced(t):
    d = t.definition("//images.star", platforms = {"cloud": fake()})
    t.equal(t.plan(d.artifacts["web"]).steps[0].platform, "fake")
    seen = []
    def other(platform, **origin):
        seen.append(origin)
        return base
    d = t.definition("//images.star", platforms = {"cloud": lambda **options: fake()}, replace = {"source": other})
    t.equal(seen, [{"text": "origin"}])
    t.equal(t.plan(d.artifacts["web"]).steps[0].data["options"], t.plan(base).steps[0].data["options"])

def test_fails(t):
    t.equal(t.fails(lambda: shell(base, 1)), "lib/web_test.star:44:34: shell: command: got int, want string or list of strings")
    t.fails(lambda: t.definition("//images.star", params = {"verzion": 1}), "did you mean \"version\"")
    t.fails(lambda: t.definition("//images.star", params = {"version": 1}), "1 is not a string")
    t.fails(lambda: t.definition("//none.star"), "no file or directory")
    t.fails(lambda: t.definition("//images.star", platforms = {"clod": fake()}), "did you mean \"cloud\"")
    t.fails(lambda: "%s" % secret("token"), "cannot be used in a string")
    t.fails(lambda: web(), "missing 1 argument")
    t.fails(lambda: fail("own words"), "^fail: own words$")
    t.plan(web(base)) # is not what failed

def test_skipped(t):
    t.run(base, "true")
`,
		"testdata/ignored_test.star": "def test_not_found(t): t.fail('found')\n",
	})
	c.Environ = append(c.Environ, "BAKE_PARAM_VERSION=environment")
	if r := run(t, c, spec.Options{Update: true}); r.sum.Failed > 0 || r.sum.Passed != 4 || r.sum.Skipped != 1 {
		for _, x := range r.all {
			t.Log(x.Name, x.Status, text(t, x))
		}
		t.Fatalf("%+v", r.sum)
	}
	want := "source: text x (fake)\n    origin: text\n    options: {\"text\":\"x\"}\nshell: install nginx (fake)\n    script: install nginx\n" +
		"write: /etc/web (fake)\n    path: /etc/web\n    content: 1\n    mode: 0644\n"
	golden, err := os.ReadFile(filepath.Join(c.Dir, "lib/testdata/test_steps.golden"))
	if err != nil || string(golden) != want {
		t.Errorf("the golden file is\n%s, %v", golden, err)
	}
	cover := spec.NewCoverage()
	if r := run(t, c, spec.Options{Cover: cover, Jobs: 3}); r.sum.Failed > 0 {
		t.Errorf("with the golden file and coverage: %+v %s", r.sum, text(t, r.all[0]))
	}
	files := cover.Files()
	if len(files) != 2 || files[1].Name != "lib/web.star" || files[1].Missed() != "5, 10-12" || files[0].Missed() != "" {
		t.Errorf("covered %+v, missed %q", files, files[1].Missed())
	}
}

const failing = `
def same(t, got):
    t.equal(got, {"name": "x" * 50, "list": [1, 2]}, "the map")

def test_values(t):
    t.equal(1, 2)
    same(t, {"name": "x" * 50, "list": [1, 3]})
    t.equal("a\nb\n", "a\nc\n")
    t.contains([1], 2)
    t.fails(lambda: 1, "x")
    t.fails(lambda: [][0], "other")
    print("printed")
    t.log(["logged"])

def test_error(t):
    t.true(0, "first")
    [][1]
    t.fail("never")

def test_fatal(t):
    t.fatal("enough")
    t.fail("never")

def test_calls(t):
    m = shell(1, "x")
    t.plan(shell(m, "y"))

def test_loop(t):
    t.fails(lambda: [0 for _ in range(10000000) for _ in range(10000000)], "")

def test_arguments():
    pass

def test_golden(t):
    t.golden("new")

test_value = 3
`

// TestFailures shows each failure at the user's line, with both values.
func TestFailures(t *testing.T) {
	c := project(t, map[string]string{"a_test.star": failing, "b_test.star": "def test_(\n", "c_test.star": "x = undefined\ndef test_c(t): pass\n", "testdata/test_golden.golden": "old\n"})
	r := run(t, c, spec.Options{MaxSteps: 100_000})
	for name, want := range map[string]string{
		"test_values": "a_test.star:6:12: not equal\n  got:  1\n  want: 2\n    6 |     t.equal(1, 2)\n      |            ^\n" +
			"a_test.star:3:12: the map: not equal\n  --- want\n  +++ got\n  @@ -1,4 +1,4 @@\n   {\n       \"name\": \"" + strings.Repeat("x", 50) + "\",\n  -    \"list\": [1, 2],\n  +    \"list\": [1, 3],\n   }\n" +
			"    3 |     t.equal(got, {\"name\": \"x\" * 50, \"list\": [1, 2]}, \"the map\")\n      |            ^\ncall stack, innermost first:\n  a_test.star:3:12 in same\n  a_test.star:7:9 in test_values\n" +
			"a_test.star:8:12: not equal\n  --- want\n  +++ got\n  @@ -1,2 +1,2 @@\n   a\n  -c\n  +b\n    8 |     t.equal(\"a\\nb\\n\", \"a\\nc\\n\")\n      |            ^\n" +
			"a_test.star:9:15: not there\n  want: 2\n  in:   [1]\n    9 |     t.contains([1], 2)\n      |               ^\n" +
			"a_test.star:10:12: it does not fail\n   10 |     t.fails(lambda: 1, \"x\")\n      |            ^\n" +
			"a_test.star:11:12: it fails otherwise\n  want a match of: other\n  got:             index 0 out of range: empty list\n   11 |     t.fails(lambda: [][0], \"other\")\n      |            ^\n",
		"test_error": "a_test.star:16:11: first: 0, want what counts as True\n   16 |     t.true(0, \"first\")\n      |           ^\n" +
			"a_test.star:17:7: index 1 out of range: empty list\n   17 |     [][1]\n      |       ^\n",
		"test_fatal":     "a_test.star:21:12: enough\n   21 |     t.fatal(\"enough\")\n      |            ^\n",
		"test_calls":     "a_test.star:25:14: shell: layer: got int, want layer\n   25 |     m = shell(1, \"x\")\n      |              ^\n",
		"test_loop":      "a_test.star:29:49: evaluation stopped after 100000 steps: does it ever end?\n",
		"test_arguments": "a_test.star:31:1: test_arguments takes 0 parameters, want the one t\n",
		"test_value":     "a_test.star:37:1: test_value: got int, want a function of t\n",
		"test_golden":    "a_test.star:35:13: testdata/test_golden.golden: it has changed; bake test --update takes that over\n  --- want\n  +++ got\n  @@ -1,1 +1,1 @@\n  -old\n  +new\n",
		"":               "b_test.star:2:1: got end of file",
		"test_c":         "c_test.star:1:5: undefined: undefined\n",
	} {
		x := r.of(name)
		if got := text(t, x); x.Status != spec.Failed || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s\n%s\nwant\n%s", name, x.Status, got, want)
		}
	}
	if log := strings.Join(r.of("test_values").Log, "\n"); log != "a_test.star:12:10: printed\na_test.star:13:10: [\"logged\"]" {
		t.Errorf("log %q", log)
	}
}

// TestCallsOfDefinitions holds that an error of a definition says which call of the test
// has evaluated it, and that one of several failures hides no other.
func TestCallsOfDefinitions(t *testing.T) {
	c := project(t, map[string]string{
		"a_test.star": "def test_calls(t):\n    t.definition(\"calls.star\")\n\ndef test_fail(t):\n    t.definition(\"fail.star\")\n",
		"calls.star":  "m = source(fake(), text = \"x\")\nshell(m)\nwrite(m, 3)\n",
		"fail.star":   "def f():\n    fail(\"no\")\n\nf()\n",
	})
	r := run(t, c, spec.Options{})
	for name, want := range map[string]string{
		"test_calls": "calls.star:2:6: t.definition: shell: nothing to run: want a command or script=\"path\"\n  calls.star:3:6: write: path: got int, want string\n" +
			"    2 | shell(m)\n      |      ^\ncall stack, innermost first:\n  calls.star:2:6\n  a_test.star:2:17 in test_calls\n",
		"test_fail": "fail.star:2:9: t.definition: fail: no\n    2 |     fail(\"no\")\n      |         ^\ncall stack, innermost first:\n" +
			"  fail.star:2:9 in f\n  fail.star:4:2\n  a_test.star:5:17 in test_fail\n",
	} {
		if got := text(t, r.of(name)); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}
}

// TestTimeout holds that a test ends at its time limit, in the interpreter too.
func TestTimeout(t *testing.T) {
	c := project(t, map[string]string{"a_test.star": "def test_loop(t):\n    for i in range(1000000):\n        for j in range(1000000): pass\n"})
	r := run(t, c, spec.Options{Timeout: 50 * time.Millisecond, MaxSteps: 1 << 50})
	if got := text(t, r.of("test_loop")); !strings.Contains(got, "the test takes longer than 50ms, which is its time limit (--timeout)") {
		t.Errorf("%s", got)
	}
}

// TestNone holds that no test is an error.
func TestNone(t *testing.T) {
	c := project(t, map[string]string{"a_test.star": "def test_a(t): pass\n", "b.star": "def test_b(t): pass\n", "none/x.star": ""})
	for want, o := range map[string]spec.Options{
		`no tests: below none is no function test_… in a file *_test.star, and no example in a docstring`: {Paths: []string{"none"}},
		`no tests: no test below . matches b`: {Paths: []string{"."}, Match: regexp.MustCompile("b")},
	} {
		if _, err := spec.Run(t.Context(), c, o, &results{}); !errors.Is(err, spec.ErrNone) || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestInterrupted holds that an interrupt ends the run.
func TestInterrupted(t *testing.T) {
	c := project(t, map[string]string{"a_test.star": "def test_a(t): pass\n"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := spec.Run(ctx, c, spec.Options{Paths: []string{"."}}, &results{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

const mixed = `
def test_good(t):
    t.log("fine # not a comment")

def test_bad(t):
    t.equal("<a>&\x1b[31m", "]]>\n...\n")

def test_left(t):
    t.skip("for # later")
`

// TestTAP has prove read a report.
func TestTAP(t *testing.T) {
	need.Tool(t, "prove", "cat")
	c := project(t, map[string]string{"a_test.star": mixed})
	var b bytes.Buffer
	if _, err := spec.Run(t.Context(), c, spec.Options{Paths: []string{"."}}, spec.NewTAP(&b, render)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "report.tap")
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("prove", "-v", "--exec", "cat", file).CombinedOutput()
	for _, want := range []string{"Failed test:  2", "Tests: 3 Failed: 1", "# SKIP for # later", "Failed 1/3 subtests", "less 1 skipped subtest"} {
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("prove says nothing of %q: %v\n%s", want, err, out)
		}
	}
	if strings.Contains(string(out), "Parse errors") {
		t.Errorf("prove cannot read\n%s", b.Bytes())
	}
}

// TestJUnit reads a report as other programs do.
func TestJUnit(t *testing.T) {
	c := project(t, map[string]string{"a_test.star": mixed, "lib/b_test.star": "def test_b(t): pass\n"})
	var b bytes.Buffer
	if _, err := spec.Run(t.Context(), c, spec.Options{Paths: []string{"."}}, spec.NewJUnit(&b, render)); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Suites   []struct {
			Name  string `xml:"name,attr"`
			Cases []struct {
				Name    string `xml:"name,attr"`
				Class   string `xml:"classname,attr"`
				Failure *struct {
					Message string `xml:"message,attr"`
					Text    string `xml:",chardata"`
				} `xml:"failure"`
				Skipped *struct{} `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatalf("%v\n%s", err, b.Bytes())
	}
	if got.Tests != 4 || got.Failures != 1 || len(got.Suites) != 2 || got.Suites[1].Cases[0].Class != "lib.b_test" || got.Suites[0].Cases[2].Skipped == nil {
		t.Errorf("%+v", got)
	}
	if f := got.Suites[0].Cases[1].Failure; f == nil || f.Message != "a_test.star:6:12: not equal" || !strings.Contains(f.Text, "]]>") {
		t.Errorf("%+v", f)
	}
}

// TestJUnitParser has junitparser put a report together with itself.
func TestJUnitParser(t *testing.T) {
	need.Tool(t, "junitparser")
	c := project(t, map[string]string{"a_test.star": mixed})
	var b bytes.Buffer
	if _, err := spec.Run(t.Context(), c, spec.Options{Paths: []string{"."}}, spec.NewJUnit(&b, render)); err != nil {
		t.Fatal(err)
	}
	file, merged := filepath.Join(t.TempDir(), "report.xml"), filepath.Join(t.TempDir(), "merged.xml")
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("junitparser", "merge", file, file, merged).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(merged)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(text), "<testcase")
	for _, want := range []string{`tests="6"`, `failures="2"`, `errors="0"`, `skipped="2"`} {
		if !strings.Contains(head, want) {
			t.Errorf("no %s in\n%s", want, head)
		}
	}
}

// TestCoverageOfModule holds that all files of the module that a test belongs to count, and
// those of no other; and that LCOV's own programs read what is written, without a warning.
func TestCoverageOfModule(t *testing.T) {
	c := project(t, map[string]string{
		"bake.mod":          "module(\"example.com/one\")\n",
		"lib/a.star":        "def a():\n    return 1\n",
		"lib/never.star":    "def never():\n    return 1\n\nx = 1\n",
		"lib/none.star":     "# nothing here runs\n",
		"tests/a_test.star": "load(\"//lib/a.star\", \"a\")\n\ndef test_a(t): t.equal(a(), 1)\n",
		"other/bake.mod":    "module(\"example.com/other\")\n",
		"other/b.star":      "b = 1\n",
	})
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(c.Dir, link); err != nil {
		t.Fatal(err)
	}
	c.Dir = link // which does not make two files of one
	cover, paths := spec.NewCoverage(), []string{"tests/a_test.star"}
	if r := run(t, c, spec.Options{Paths: paths, Cover: cover}); r.sum.Failed > 0 {
		t.Fatal(text(t, r.all[0]))
	}
	if err := cover.AddFiles(c.Dir, paths); err != nil {
		t.Fatal(err)
	}
	var lcov bytes.Buffer
	if err := spec.WriteLCOV(&lcov, cover.Files()); err != nil {
		t.Fatal(err)
	}
	want := "TN:\nSF:lib/a.star\nDA:1,1\nDA:2,1\nLF:2\nLH:2\nend_of_record\n" +
		"TN:\nSF:lib/never.star\nDA:1,0\nDA:2,0\nDA:4,0\nLF:3\nLH:0\nend_of_record\n"
	if lcov.String() != want {
		t.Fatalf("got\n%s", &lcov)
	}
	need.Tool(t, "lcov", "genhtml")
	if err := os.WriteFile(filepath.Join(c.Dir, "cov.info"), lcov.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"lcov", "--summary", "cov.info"}, {"genhtml", "-o", "html", "cov.info"}} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = c.Dir
		out, err := cmd.CombinedOutput()
		said := string(out)
		if err != nil || !strings.Contains(said, "40.0% (2 of 5 lines)") || strings.Contains(strings.ToLower(said), "warning") || strings.Contains(strings.ToLower(said), "error") {
			t.Errorf("%s: %v\n%s", args[0], err, out)
		}
	}
	if err := os.WriteFile(filepath.Join(c.Dir, "lib/broken.star"), []byte("def f(:\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := cover.AddFiles(c.Dir, paths); err == nil || !strings.Contains(err.Error(), "lib/broken.star:1:8") || len(cover.Files()) != 3 {
		t.Errorf("a file that is no Starlark: %v", err)
	}
}

// TestJSON reads each line.
func TestJSON(t *testing.T) {
	c := project(t, map[string]string{"a_test.star": mixed})
	var b bytes.Buffer
	if _, err := spec.Run(t.Context(), c, spec.Options{Paths: []string{"."}}, spec.NewJSON(&b)); err != nil {
		t.Fatal(err)
	}
	var lines []spec.Line
	for text := range strings.Lines(b.String()) {
		var l spec.Line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		lines = append(lines, l)
	}
	if len(lines) != 5 || lines[0].Schema != spec.Schema || lines[0].Total != 3 || lines[2].Status != spec.Failed || lines[4].Failed != 1 || lines[4].Skipped != 1 {
		t.Fatalf("%+v", lines)
	}
	if f := lines[2].Errors[0]; f.Pos[0].Line != 6 || f.Pos[0].File != "a_test.star" || !strings.HasPrefix(f.Message, "not equal\n") {
		t.Errorf("%+v", f)
	}
}

// TestCoverageLeavesPositions holds that an error says the same with and without
// coverage, and that LCOV's file has what was counted.
func TestCoverageLeavesPositions(t *testing.T) {
	c := project(t, map[string]string{
		"lib.star":    "def f(x):\n    \"\"\"Docs.\"\"\"\n    for y in x:\n        if y > 1:\n            fail(\"too much\")\n        elif y == 1: pass\n    return [x]\n\ndocs = \"no\" if len(dir(f)) else \"\"\n",
		"a_test.star": "load(\"lib.star\", \"f\")\n\ndef test_a(t):\n    f([0, 2])\n\ndef test_b(t):\n    f([0])\n",
	})
	without, cover := run(t, c, spec.Options{}), spec.NewCoverage()
	with := run(t, c, spec.Options{Cover: cover})
	if a, b := text(t, without.all[0]), text(t, with.all[0]); a != b || !strings.HasPrefix(a, "lib.star:5:17: fail: too much\n") {
		t.Errorf("without coverage\n%s\nwith\n%s", a, b)
	}
	var lcov bytes.Buffer
	if err := spec.WriteLCOV(&lcov, cover.Files()); err != nil {
		t.Fatal(err)
	}
	want := "TN:\nSF:lib.star\nDA:1,2\nDA:3,2\nDA:4,3\nDA:5,1\nDA:6,0\nDA:7,1\nDA:9,2\nLF:7\nLH:6\nend_of_record\n"
	if lcov.String() != want {
		t.Errorf("got\n%s", &lcov)
	}
}

// TestExamples runs the examples of docstrings, with errors at the lines that they stand in.
func TestExamples(t *testing.T) {
	c := project(t, map[string]string{
		"lib/names.star": `"""Names."""

def full(name, last = "Doe"):
    """Returns a full name.

    Args:
      name: the first name
      last: the last one

    Example:
      who = full("Jane")

    Example:
      full("Jane", lst = "Roe")
    """
    return name + " " + last
`,
		"lib/broken.star": "def (",
	})
	cover := spec.NewCoverage()
	got := run(t, c, spec.Options{Paths: []string{"."}, Cover: cover})
	if got.sum.Passed != 1 || got.sum.Failed != 1 {
		t.Fatalf("%+v", got.sum)
	}
	if files := cover.Files(); len(files) != 1 || files[0].Name != "lib/names.star" || files[0].Missed() != "" {
		t.Errorf("covered %+v", files)
	}
	failed := got.of("example:14")
	if said := text(t, failed); !strings.Contains(said, "names.star:14:") || !strings.Contains(said, "lst") {
		t.Errorf("%s", said)
	}
	if failed.ID() != "lib/names.star:example:14" {
		t.Errorf("it is called %s", failed.ID())
	}
}
