package reference

import (
	"fmt"
	"io/fs"
	"strings"

	"bake.build/bake/builtins"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/export"
	"bake.build/bake/starlark/eval"
)

// Sources are what the reference is made from.
type Sources struct {
	Builtins  []builtins.Builtin
	Platforms []platforms.Spec
	Formats   export.Table
	Std       fs.FS // the library @bake
}

// Language makes the reference of the language and of the library.
func Language(s Sources) (*Book, error) {
	b := &Book{Sections: []*Section{names(), functions(s.Builtins), platformsOf(s.Platforms), formats(s.Formats)}}
	if s.Std == nil {
		return b, nil
	}
	files, err := Tree{s.Std, "@bake//"}.Files(".")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		b.Sections = append(b.Sections, File(f))
	}
	return b, nil
}

func names() *Section {
	return &Section{
		Name: "files", Title: "Files", Head: []string{"name", "what it is"},
		Doc: "The root of a project is the nearest directory, at or above that of the definition, that holds `bake.mod`, `bake.lock`, `BAKE_ROOT` or `.git`; where there is none, it is the definition's own directory. The first line of `BAKE_ROOT`, or else the repository's name, is the project's identity on clouds.\n\n" +
			fmt.Sprintf("No name leads out of the root, through `..` or through a link; only `source` and the constructors of platforms take absolute paths. A module is evaluated once, however often it is loaded. A definition that takes more than %d million steps, %d MiB of memory or %.0f seconds is stopped, and one operation that would make a text, a list or an integer of excessive size is an error.", eval.DefaultMaxSteps/1_000_000, eval.DefaultMaxMemory>>20, eval.DefaultMaxTime.Seconds()),
		Entries: []Entry{
			{Name: "lib/x.star", Kind: Other, Summary: "relative to the directory of the file that names it; in a call from the library, to that of the file that called the library"},
			{Name: "//lib/x.star", Kind: Other, Summary: "from the project's root"},
			{Name: "@bake//x.star", Kind: Other, Summary: "a file of the library, for `load` only"},
		},
	}
}

func functions(table []builtins.Builtin) *Section {
	s := &Section{
		Name: "functions", Title: "Functions",
		Doc: "`struct`, `json` and `math` are those of [Starlark's Go implementation](https://github.com/google/starlark-go); the functions of [the language](https://github.com/google/starlark-go/blob/master/doc/spec.md) itself are all there. A step takes a layer first and returns a new layer.",
	}
	s.Entries = entriesOf(table)
	return s
}

// Tests describes what a test of definitions can call: the methods of t.
func Tests(methods []builtins.Builtin) *Section {
	return &Section{
		Name: "tests", Title: "Tests of definitions",
		Doc: "`bake test .` calls each function `test_…(t)` of files `*_test.star`, without building. `t` is described here; `t.name` is the function's name. Such a file loads and calls what any definition can.\n\n" +
			"```python\nload(\"//lib/web.star\", \"web\")\n\ndef test_web(t):\n    p = t.plan(web(source(rootfs(), debian = \"bookworm\")))\n    t.equal([s.kind for s in p.steps], [\"source\", \"shell\", \"copy\"])\n    t.contains(p.scripts[0], \"nginx\")\n```",
		Entries: entriesOf(methods),
	}
}

func entriesOf(table []builtins.Builtin) (list []Entry) {
	for _, b := range table {
		e := Entry{Name: b.Name, Kind: Function, Signature: signature(b), Returns: b.Returns}
		e.Summary, e.Doc = sentence(b.Doc)
		if len(b.Args) > 0 {
			e.Groups = []Group{{What: "argument", Options: options(b.Args)}}
		}
		list = append(list, e)
	}
	return list
}

// sentence parts the first paragraph of a text from the others.
func sentence(text string) (first, rest string) {
	first, rest, _ = strings.Cut(text, "\n\n")
	return first, rest
}

func signature(b builtins.Builtin) string {
	var args []string
	keyword := false
	for _, a := range b.Args {
		if a.Keyword && !keyword {
			keyword = true
			args = append(args, "*")
		}
		arg := a.Name
		if !a.Required {
			arg += " = …"
		}
		args = append(args, arg)
	}
	if b.Rest {
		args = append(args, "**options")
	}
	return call(b.Name, args, b.Returns)
}

// call shows how a function is called, on several lines when it is long.
func call(name string, args []string, returns string) string {
	const most = 88
	if returns != "" {
		returns = " → " + returns
	}
	if line := name + "(" + strings.Join(args, ", ") + ")" + returns; len([]rune(line)) <= most {
		return line
	}
	var out strings.Builder
	out.WriteString(name + "(")
	width := most
	for _, arg := range args {
		if width += len([]rune(arg)) + 2; width > most {
			out.WriteString("\n   ")
			width = 4 + len([]rune(arg))
		}
		out.WriteString(" " + arg + ",")
	}
	return out.String() + "\n)" + returns
}

func platformsOf(specs []platforms.Spec) *Section {
	s := &Section{
		Name: "platforms", Title: "Platforms",
		Doc: "A platform is a value that `source` takes, or `to` of [export](#export). Durations are strings such as `\"90s\"`, sizes strings such as `\"4G\"`, in bytes with binary suffixes. Each constructor takes `name` as well: what the platform value is called where an artifact goes to several of one kind, such as `web@prod` for `aws(name = \"prod\", …)`. It changes no key.",
	}
	for _, p := range specs {
		e := Entry{Name: p.Name, Kind: Platform, Title: p.Name + "()"}
		e.Summary, e.Doc = sentence(p.Doc)
		var origins, others []platforms.Option
		for _, o := range p.Origin {
			if o.IsOrigin {
				origins = append(origins, o)
			} else {
				others = append(others, o)
			}
		}
		for _, g := range []struct {
			title   string
			options []platforms.Option
		}{
			{"Options of `%s(…)`:", p.Options},
			{"Origins, of which `source(%s(), …)` takes exactly one:", origins},
			{"Further options of `source(%s(), …)`:", others},
			{"Further options of `export(…, to = [%s()])`:", p.Publication},
		} {
			if len(g.options) > 0 {
				e.Groups = append(e.Groups, Group{Title: fmt.Sprintf(g.title, p.Name), What: "option", Options: options(g.options)})
			}
		}
		s.Entries = append(s.Entries, e)
	}
	return s
}

func options(list []platforms.Option) []Option {
	var out []Option
	for _, o := range list {
		help := plain(o.Help)
		if o.Deprecated != "" {
			help = "Deprecated: " + plain(o.Deprecated) + " " + help
		}
		out = append(out, Option{Name: o.Name, Type: string(o.Kind), Help: help, Choices: o.Choices, Default: o.Default, Required: o.Required})
	}
	return out
}

func formats(table export.Table) *Section {
	s := &Section{Name: "formats", Title: "Formats", Doc: "What `formats` of [export](#export) can name.", Head: []string{"format", "what it is"}}
	for _, f := range table {
		s.Entries = append(s.Entries, Entry{Name: f.Name, Kind: Format, Summary: f.Doc})
	}
	return s
}
