package builtins

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"bake.build/bake/internal/spell"
	"bake.build/bake/runtime/plan"
	"go.starlark.net/starlark"
)

func paramBuiltin() Builtin {
	return Declare("param", `Declares a parameter and returns its value.

The value comes from -p name=value, from a file given by --params-file, from the variable BAKE_PARAM_NAME of the environment, or else is the default. A parameter without a default has to be given. The type is that of the default when none is named. On a command line a list is written with commas.`,
		"string, bool, int or list of strings", param)
}

type paramArgs struct {
	Name    string         `bake:"name,required" help:"Name of the parameter: letters, digits and \"_\"."`
	Default starlark.Value `bake:"default" help:"Default value. A parameter without one is required."`
	Help    string         `bake:"help,keyword" help:"One sentence of help for users."`
	Type    string         `bake:"type,keyword" help:"One of string, bool, int and list." default:"that of the default, or string"`
	Choices []string       `bake:"choices,keyword" help:"Allowed values; for a list, of each element."`
}

// A Param is a parameter of a definition.
type Param struct {
	Name    string
	Type    string // "string", "bool", "int" or "list"
	Help    string
	Choices []string
	Default any        // a string, bool, int or []string; nil when a value has to be given
	Value   any        // as Default
	From    string     // where the value is from, such as "-p"; "" for the default
	Pos     []plan.Pos // where it was declared first
}

// A ParamInput is the value of a parameter from outside of the definition.
type ParamInput struct {
	Text  string          // as typed, when Value is nil
	Value json.RawMessage // with a type, from a file of parameters
	From  string          // such as "-p", "params.json" or "BAKE_PARAM_VERSION"
	Loose bool            // no error when the definition has no such parameter
}

func param(c *Call, a *paramArgs) (starlark.Value, error) {
	p := &Param{Name: a.Name, Type: a.Type, Help: a.Help, Choices: a.Choices, Pos: c.Pos()}
	if !envName.MatchString(a.Name) {
		return nil, fmt.Errorf("name: %q: want letters, digits and \"_\", a letter first", a.Name)
	}
	if err := p.setDefault(a.Default, c.Given("default")); err != nil {
		return nil, err
	}
	given, ok := c.Params[p.Name]
	if !ok { // names of variables know no case
		if given, ok = c.Params[strings.ToLower(p.Name)]; !given.Loose {
			ok = false
		}
	}
	if ok {
		p.From = given.From
		var err error
		if p.Value, err = p.parse(given); err == nil {
			err = p.check(p.Value)
		}
		if err != nil {
			return nil, fmt.Errorf("%s (from %s): %w%s", p.Name, given.From, err, helpLine(p))
		}
	}
	if known := c.param(p.Name); known != nil {
		if known.Type != p.Type || !same(known.Default, p.Default) || !slices.Equal(known.Choices, p.Choices) {
			return nil, fmt.Errorf("the parameter %q is declared otherwise at %s", p.Name, known.Pos[0])
		}
		return toStarlark(p.Value), nil
	}
	c.params = append(c.params, p)
	if p.Value == nil {
		return nil, fmt.Errorf("no value for %q: give one with -p %s=…%s%s", p.Name, p.Name, helpLine(p), c.paramList())
	}
	return toStarlark(p.Value), nil
}

func same(a, b any) bool { return fmt.Sprintf("%#v", a) == fmt.Sprintf("%#v", b) }

func helpLine(p *Param) string {
	var parts []string
	if p.Help != "" {
		parts = append(parts, p.Help)
	}
	if len(p.Choices) > 0 {
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

// setDefault sets the type, the default and the value of p.
func (p *Param) setDefault(v starlark.Value, given bool) error {
	var x any
	typ := "string"
	switch v := v.(type) {
	case nil, starlark.NoneType:
		given = false
	case starlark.String:
		x = string(v)
	case starlark.Bool:
		x, typ = bool(v), "bool"
	case starlark.Int:
		n, err := asInt(v)
		if err != nil {
			return fmt.Errorf("default: %w", err)
		}
		x, typ = n, "int"
	default:
		list, err := asStrings(v)
		if err != nil {
			return fmt.Errorf("default: %w", wrongType(v, "string, bool, int or list of strings"))
		}
		x, typ = list, "list"
	}
	if p.Type == "" {
		p.Type = typ
	}
	if types := []string{"string", "bool", "int", "list"}; !slices.Contains(types, p.Type) {
		return fmt.Errorf("type: %q is not a type%s", p.Type, spell.Hint(p.Type, "types", types))
	}
	if len(p.Choices) > 0 && p.Type != "string" && p.Type != "list" {
		return fmt.Errorf("choices: a parameter of type %s has none", p.Type)
	}
	if !given {
		return nil
	}
	if typ != p.Type {
		return fmt.Errorf("default: got %s, want %s", typ, p.Type)
	}
	if err := p.check(x); err != nil {
		return fmt.Errorf("default: %w", err)
	}
	p.Default, p.Value = x, x
	return nil
}

// check says whether the value x is one of the choices.
func (p *Param) check(x any) error {
	values, ok := x.([]string)
	if s, isString := x.(string); isString {
		values, ok = []string{s}, true
	}
	if !ok || len(p.Choices) == 0 {
		return nil
	}
	for _, s := range values {
		if !slices.Contains(p.Choices, s) {
			return fmt.Errorf("%q is not a choice%s", s, spell.Hint(s, "choices", p.Choices))
		}
	}
	return nil
}

// parse reads a value from outside.
func (p *Param) parse(g ParamInput) (any, error) {
	if g.Value != nil {
		return p.parseJSON(g.Value)
	}
	switch p.Type {
	case "bool":
		switch strings.ToLower(g.Text) {
		case "true", "1", "yes", "on":
			return true, nil
		case "false", "0", "no", "off":
			return false, nil
		}
		return nil, fmt.Errorf("%q is not true or false", g.Text)
	case "int":
		n, err := strconv.ParseInt(strings.TrimSpace(g.Text), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%q is not an integer", g.Text)
		}
		return int(n), nil
	case "list":
		list := []string{}
		for _, s := range strings.Split(g.Text, ",") {
			if s = strings.TrimSpace(s); s != "" {
				list = append(list, s)
			}
		}
		return list, nil
	}
	return g.Text, nil
}

func (p *Param) parseJSON(text json.RawMessage) (any, error) {
	var err error
	switch p.Type {
	case "bool":
		var b *bool
		if err = json.Unmarshal(text, &b); err == nil && b != nil {
			return *b, nil
		}
	case "int":
		var n *int32
		if err = json.Unmarshal(text, &n); err == nil && n != nil {
			return int(*n), nil
		}
	case "list":
		var list []string
		if err = json.Unmarshal(text, &list); err == nil && list != nil {
			return list, nil
		}
	default:
		var s *string
		if err = json.Unmarshal(text, &s); err == nil && s != nil {
			return *s, nil
		}
	}
	return nil, fmt.Errorf("%s is not %s", text, article(p.Type))
}

// Text returns the value as -p takes it.
func (p *Param) Text() string {
	if list, ok := p.Value.([]string); ok {
		return strings.Join(list, ",")
	}
	return fmt.Sprint(p.Value)
}

func toStarlark(x any) starlark.Value {
	switch x := x.(type) {
	case string:
		return starlark.String(x)
	case bool:
		return starlark.Bool(x)
	case int:
		return starlark.MakeInt(x)
	case []string:
		list := make([]starlark.Value, len(x))
		for i, s := range x {
			list[i] = starlark.String(s)
		}
		return starlark.NewList(list)
	}
	return starlark.None
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
		if p.Default != nil {
			fmt.Fprintf(&b, ", default %v", toStarlark(p.Default))
		}
		b.WriteString(")")
		if p.Help != "" {
			b.WriteString(": " + p.Help)
		}
	}
	return b.String()
}
