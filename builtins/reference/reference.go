package reference

import (
	"fmt"
	"io"
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

// Write writes the reference of the language to w, in Markdown: sections of
// level two, without a title.
func Write(w io.Writer, s Sources) error {
	p := &page{}
	p.files()
	p.builtins(s.Builtins)
	p.platforms(s.Platforms)
	p.formats(s.Formats)
	if err := p.library(s.Std); err != nil {
		return fmt.Errorf("write reference: %w", err)
	}
	_, err := io.WriteString(w, strings.TrimLeft(p.String(), "\n"))
	return err
}

// A page is Markdown that grows.
type page struct{ strings.Builder }

// block writes a paragraph, a heading or a list.
func (p *page) block(format string, args ...any) {
	fmt.Fprintf(p, "\n"+format+"\n", args...)
}

// table writes a table, or nothing when it has no rows. Columns that are empty
// throughout are left out.
func (p *page) table(head []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	var used []int
	for i := range head {
		for _, row := range rows {
			if row[i] != "" {
				used = append(used, i)
				break
			}
		}
	}
	p.WriteString("\n")
	line := func(cell func(i int) string) {
		for _, i := range used {
			p.WriteString("| " + cell(i) + " ")
		}
		p.WriteString("|\n")
	}
	line(func(i int) string { return head[i] })
	line(func(int) string { return "---" })
	for _, row := range rows {
		line(func(i int) string { return cell(row[i]) })
	}
}

// cell makes text fit into one cell of a table.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ").Replace(s)
}

// plain makes text show as it is, where Markdown would see tags and emphasis.
func plain(s string) string {
	return strings.NewReplacer("<", "\\<", "*", "\\*").Replace(s)
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

func (p *page) files() {
	p.block("## Files")
	p.block("The root of a project is the nearest directory, at or above that of the definition, that holds `bake.lock`, `BAKE_ROOT` or `.git`; where there is none, it is the definition's own directory. The first line of `BAKE_ROOT`, or else the repository's name, is the project's identity on clouds.")
	p.table([]string{"name", "what it is"}, [][]string{
		{code("lib/x.star"), "relative to the directory of the file that names it; in a call from the library, to that of the file that called the library"},
		{code("//lib/x.star"), "from the project's root"},
		{code("@bake//debian.star"), "a file of the library, for `load` only"},
	})
	p.block("No name leads out of the root, through `..` or through a link; only `source` and the constructors of platforms take absolute paths. A module is evaluated once, however often it is loaded. A definition that takes more than %d million steps, %d MiB of memory or %.0f seconds is stopped, and one operation that would make a text, a list or an integer of excessive size is an error.", eval.DefaultMaxSteps/1_000_000, eval.DefaultMaxMemory>>20, eval.DefaultMaxTime.Seconds())
}

func (p *page) builtins(table []builtins.Builtin) {
	p.block("## Functions")
	p.block("`struct`, `json` and `math` are those of [Starlark's Go implementation](https://github.com/google/starlark-go); the functions of [the language](https://github.com/google/starlark-go/blob/master/doc/spec.md) itself are all there. A step takes a layer first and returns a new layer.")
	for _, b := range table {
		p.block("### %s", b.Name)
		p.block("```python\n%s\n```", signature(b))
		p.block("%s", b.Doc)
		p.options("argument", b.Args)
	}
}

// signature shows how a builtin is called, on several lines when it is long.
func signature(b builtins.Builtin) string {
	const most = 88
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
	returns := ""
	if b.Returns != "" {
		returns = " → " + b.Returns
	}
	if line := b.Name + "(" + strings.Join(args, ", ") + ")" + returns; len([]rune(line)) <= most {
		return line
	}
	var out strings.Builder
	out.WriteString(b.Name + "(")
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

func (p *page) platforms(specs []platforms.Spec) {
	p.block("## Platforms")
	p.block("A platform is a value that `source` takes, or `to` of [export](#export). Durations are strings such as `\"90s\"`, sizes strings such as `\"4G\"`, in bytes with binary suffixes. Each constructor takes `name` as well: what the platform value is called where an artifact goes to several of one kind, such as `web@prod` for `aws(name = \"prod\", …)`. It changes no key.")
	for _, s := range specs {
		p.block("### %s()", s.Name)
		p.block("%s", s.Doc)
		if len(s.Options) > 0 {
			p.block("Options of `%s(…)`:", s.Name)
			p.options("option", s.Options)
		}
		var origins, others []platforms.Option
		for _, o := range s.Origin {
			if o.IsOrigin {
				origins = append(origins, o)
			} else {
				others = append(others, o)
			}
		}
		if len(origins) > 0 {
			p.block("Origins, of which `source(%s(), …)` takes exactly one:", s.Name)
			p.options("option", origins)
		}
		if len(others) > 0 {
			p.block("Further options of `source(%s(), …)`:", s.Name)
			p.options("option", others)
		}
		if len(s.Publication) > 0 {
			p.block("Further options of `export(…, to = [%s()])`:", s.Name)
			p.options("option", s.Publication)
		}
	}
}

// options writes the table of options, each of which is called what.
func (p *page) options(what string, options []platforms.Option) {
	var rows [][]string
	for _, o := range options {
		help := plain(o.Help)
		if len(o.Choices) > 0 {
			help += " One of `" + strings.Join(o.Choices, "`, `") + "`."
		}
		def := o.Default
		if o.Required {
			def = "required"
		}
		rows = append(rows, []string{code(o.Name), string(o.Kind), help, def})
	}
	p.table([]string{what, "type", "meaning", "default"}, rows)
}

func (p *page) formats(formats []export.Format) {
	p.block("## Formats")
	p.block("What `formats` of [export](#export) can name.")
	var rows [][]string
	for _, f := range formats {
		rows = append(rows, []string{code(f.Name), f.Doc})
	}
	p.table([]string{"format", "what it is"}, rows)
}
