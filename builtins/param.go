package builtins

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"bake.build/bake/internal/datafile"
	"bake.build/bake/internal/spell"
	"bake.build/bake/runtime/plan"
	"go.starlark.net/starlark"
)

func paramBuiltin() Builtin {
	return Declare("param", `Declares a parameter and returns its value.

The value comes from -p name=value, from a file given by --params-file, from the variable BAKE_PARAM_NAME of the environment, or else is the default. A parameter without a default has to be given. The type is that of the default when none is named.

On a command line a list is written with commas or as JSON, a dict as JSON, and one field of a dict with dots: -p images.web.cpus=4 changes that field of the value that the file or the default gives. A file of parameters is JSON, YAML or TOML, by the end of its name, or lines of KEY=VALUE. What a value in a file has wrong is told at its line and column.

A dict or a list says with fields and of what may be in it. Each of them takes the name of a type, or a dict with type, default, choices, of, fields and help:

    images = param("images", fields = {
        "region": "string",
        "cpus": {"type": "int", "default": 2, "choices": [2, 4, 8]},
        "disks": {"type": "list", "of": "int", "default": []},
    })

A field without a default has to be given; one whose default is None may be missing. A map of such objects is param("images", type = "dict", of = {"fields": {…}}).`,
		"string, bool, int, float, list or dict", param)
}

type paramArgs struct {
	Name string `bake:"name,required" help:"Name of the parameter: letters, digits and \"_\"."`
	schemaArgs
}

// A Param is a parameter of a definition.
type Param struct {
	Name    string
	Type    string // "string", "bool", "int", "float", "list", "dict" or "any"
	Help    string
	Choices []string   // as -p takes them
	From    string     // where the value is from, such as "-p"; "" for the default
	Pos     []plan.Pos // where it was declared first

	schema *schema
	def    *datafile.Value // nil when a value has to be given
	value  *datafile.Value // nil when there is none
}

// Text returns the value as -p takes it.
func (p *Param) Text() string { return p.text(p.value) }

// DefaultText returns the default as -p takes it; required says that there is none.
func (p *Param) DefaultText() (text string, required bool) { return p.text(p.def), p.def == nil }

func (p *Param) text(v *datafile.Value) string {
	if v == nil {
		return ""
	}
	if v.Kind == datafile.List {
		parts := make([]string, len(v.Items))
		for i, x := range v.Items {
			if x.Kind == datafile.List || x.Kind == datafile.Object || x.Kind == datafile.Null ||
				x.Text == "" || strings.ContainsAny(x.Text, ",[ \t\n") || p.schema.elements().typ == "any" {
				return v.JSON()
			}
			parts[i] = x.Text
		}
		return strings.Join(parts, ",")
	}
	if v.Kind == datafile.String {
		return v.Text
	}
	return v.JSON()
}

// Schema describes what the parameter takes, such as "list of string".
func (p *Param) Schema() string { return p.schema.String() }

func param(c *Call, a *paramArgs) (starlark.Value, error) {
	if !envName.MatchString(a.Name) {
		return nil, fmt.Errorf("name: %q: want letters, digits and \"_\", a letter first", a.Name)
	}
	s, err := a.schema()
	if err != nil {
		return nil, err
	}
	p := &Param{Name: a.Name, Type: s.typ, Help: a.Help, Choices: s.choices, Pos: c.Pos(), schema: s}
	if !isNone(a.Default) {
		if p.def, err = s.fromDefault(a.Default); err != nil {
			return nil, err
		}
	}
	if err := p.take(c); err != nil {
		return nil, err
	}
	if known := c.param(p.Name); known != nil {
		if !known.same(p) {
			return nil, fmt.Errorf("the parameter %q is declared otherwise at %s", p.Name, known.Pos[0])
		}
		return toStarlark(p.value), nil
	}
	c.params = append(c.params, p)
	if p.value == nil {
		return nil, &MissingError{p.Name, fmt.Sprintf("no value for %q: give one with -p %s=…%s%s", p.Name, p.Name, helpLine(p, ""), c.paramList())}
	}
	return toStarlark(p.value), nil
}

// A MissingError says that a parameter without a default was not given.
type MissingError struct {
	Name string
	text string
}

func (e *MissingError) Error() string { return e.text }

// Declared returns the parameters that were declared so far.
func (c *Context) Declared() []*Param { return c.params }

// same reports whether two declarations say the same.
func (p *Param) same(q *Param) bool {
	a, requiredA := p.DefaultText()
	b, requiredB := q.DefaultText()
	return p.Type == q.Type && a == b && requiredA == requiredB && slices.Equal(p.Choices, q.Choices) && p.Schema() == q.Schema()
}

// take sets the value: what was given, or the default.
func (p *Param) take(c *Call) error {
	p.value = p.def
	given, ok := c.Params[p.Name]
	if !ok { // names of variables know no case
		if given, ok = c.Params[strings.ToLower(p.Name)]; !given.Loose {
			ok = false
		}
	}
	if !ok {
		return nil
	}
	p.From = given.From
	v, err := p.parse(given)
	if err == nil && v == nil {
		return nil // a field of what has no value
	}
	if err == nil {
		v, err = p.schema.conform("", v)
	}
	if err != nil {
		return p.refused(c, given, err)
	}
	p.value = v
	return nil
}

// parse reads a value from outside.
func (p *Param) parse(g ParamInput) (v *datafile.Value, err error) {
	switch {
	case g.Value != nil:
		v = g.Value
	case g.Typed:
		v, err = p.schema.parseText(g.Text)
	case p.def != nil:
		v = p.def
	}
	for _, set := range g.Sets {
		if err != nil {
			break
		}
		if v, err = p.schema.set(v, set.Path, set.Text); err != nil {
			err = &valueError{path: "." + strings.Join(set.Path, "."), err: err}
		}
	}
	return v, err
}

// refused returns what is wrong with a value that was given. Where that stands in a
// file, the error is there.
func (p *Param) refused(c *Call, g ParamInput, err error) error {
	var errs []error
	for _, one := range flatten(err) {
		var wrong *valueError
		path, line, col, from := "", 0, 0, g.From
		if errors.As(one, &wrong) {
			path, line, col, one = wrong.path, wrong.line, wrong.col, wrong.err
		}
		if len(g.Sets) > 0 && line == 0 {
			from = "-p"
		} else if g.File != "" {
			from = g.File
		}
		err := fmt.Errorf("%s%s (from %s): %w", p.Name, path, from, one)
		if line > 0 && g.File != "" {
			at := plan.Pos{File: g.File, Line: line, Col: col}
			err = &plan.Error{Pos: append([]plan.Pos{at}, c.Pos()...), Err: err}
		}
		errs = append(errs, err)
	}
	if len(errs) != 1 {
		return errors.Join(errs...)
	}
	help := helpLine(p, errs[0].Error())
	if at, ok := errs[0].(*plan.Error); ok {
		at.Err = fmt.Errorf("%w%s", at.Err, help)
		return at
	}
	return fmt.Errorf("%w%s", errs[0], help)
}

// helpLine returns a line with the help and the choices of p, of what the message said
// does not tell already.
func helpLine(p *Param, said string) string {
	var parts []string
	if p.Help != "" {
		parts = append(parts, p.Help)
	}
	if len(p.Choices) > 0 && !strings.Contains(said, "(choices: ") {
		parts = append(parts, "one of "+strings.Join(p.Choices, ", "))
	}
	if len(parts) == 0 {
		return ""
	}
	return "\n  " + strings.Join(parts, "; ")
}

func (c *Context) param(name string) *Param {
	for _, p := range c.params {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// flatten returns the errors that err joins.
func flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, one := range joined.Unwrap() {
		all = append(all, flatten(one)...)
	}
	return all
}

// unknownParam says which parameters were given that the definition lacks.
func (c *Context) unknownParam() error {
	names := make([]string, len(c.params))
	for i, p := range c.params {
		names[i] = p.Name
	}
	var errs []error
	for _, name := range sortedKeys(c.Params) {
		g := c.Params[name]
		if g.Loose || c.param(name) != nil {
			continue
		}
		hint := ""
		if near := spell.Nearest(name, names); near != "" {
			hint = fmt.Sprintf(" (did you mean %q?)", near)
		}
		errs = append(errs, fmt.Errorf("param: the definition has no parameter %q (from %s)%s", name, g.From, hint))
	}
	if len(errs) == 0 {
		return nil
	}
	if len(c.params) == 0 {
		return errors.Join(append(errs, errors.New("it has none at all"))...)
	}
	return fmt.Errorf("%w%s", errors.Join(errs...), c.paramList())
}

// paramList lists the parameters that were declared so far.
func (c *Context) paramList() string {
	var b strings.Builder
	b.WriteString("\nparameters:")
	for _, p := range c.params {
		fmt.Fprintf(&b, "\n  %s (%s", p.Name, p.Type)
		if p.def != nil {
			fmt.Fprintf(&b, ", default %v", toStarlark(p.def))
		}
		b.WriteString(")")
		if p.Help != "" {
			b.WriteString(": " + p.Help)
		}
	}
	return b.String()
}

// Value returns the value, a new one each time; None where there is none.
func (p *Param) Value() starlark.Value {
	if p.value == nil {
		return starlark.None
	}
	return toStarlark(p.value)
}
