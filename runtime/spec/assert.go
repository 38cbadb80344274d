package spec

import (
	"fmt"
	"regexp"
	"strings"

	"bake.build/bake/builtins"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

type equalArgs struct {
	Got     starlark.Value `bake:"got,required" help:"The value."`
	Want    starlark.Value `bake:"want,required" help:"What it must be."`
	Message string         `bake:"message" help:"What is shown before the values."`
}

func (t *T) equalMethod() builtins.Builtin {
	return builtins.Declare("t.equal", `Asserts that two values are equal. Where they are not, both are shown, long ones as a diff.

An assertion that does not hold fails the test, which goes on. Each returns whether it holds.`, "bool",
		func(c *builtins.Call, a *equalArgs) (starlark.Value, error) {
			same, err := starlark.Compare(syntax.EQL, a.Got, a.Want)
			if err != nil {
				return nil, err
			}
			if same {
				return starlark.True, nil
			}
			return t.fail(c, a.Message, "not equal"+differenceOf(a.Got, a.Want))
		})
}

func (t *T) notEqualMethod() builtins.Builtin {
	return builtins.Declare("t.not_equal", "Asserts that two values differ.", "bool",
		func(c *builtins.Call, a *equalArgs) (starlark.Value, error) {
			same, err := starlark.Compare(syntax.EQL, a.Got, a.Want)
			if err != nil || !same {
				return starlark.True, err
			}
			return t.fail(c, a.Message, "equal, want another value than\n"+show(a.Got))
		})
}

type truthArgs struct {
	Value   starlark.Value `bake:"value,required" help:"The value."`
	Message string         `bake:"message" help:"What is shown before the value."`
}

func (t *T) trueMethod() builtins.Builtin {
	return builtins.Declare("t.true", "Asserts that a value counts as true.", "bool",
		func(c *builtins.Call, a *truthArgs) (starlark.Value, error) { return t.truth(c, a, true) })
}

func (t *T) falseMethod() builtins.Builtin {
	return builtins.Declare("t.false", "Asserts that a value counts as false.", "bool",
		func(c *builtins.Call, a *truthArgs) (starlark.Value, error) { return t.truth(c, a, false) })
}

func (t *T) truth(c *builtins.Call, a *truthArgs, want bool) (starlark.Value, error) {
	if bool(a.Value.Truth()) == want {
		return starlark.True, nil
	}
	return t.fail(c, a.Message, fmt.Sprintf("%s, want what counts as %v", show(a.Value), starlark.Bool(want)))
}

type containsArgs struct {
	In      starlark.Value `bake:"container,required" help:"A string, a list, a tuple, a dict or a set."`
	Item    starlark.Value `bake:"item,required" help:"What must be in it: a part of a string, an element, a key."`
	Message string         `bake:"message" help:"What is shown before the values."`
}

func (t *T) containsMethod() builtins.Builtin {
	return builtins.Declare("t.contains", "Asserts that something is in a string, a list or another container, as \"in\" has it.", "bool",
		func(c *builtins.Call, a *containsArgs) (starlark.Value, error) {
			found, err := starlark.Binary(syntax.IN, a.Item, a.In)
			if err != nil || bool(found.Truth()) {
				return starlark.True, err
			}
			return t.fail(c, a.Message, fmt.Sprintf("not there\nwant: %s\nin:   %s", show(a.Item), indent(show(a.In), 6)))
		})
}

type matchArgs struct {
	Text    string `bake:"text,required" help:"The text."`
	Match   string `bake:"match,required" help:"A regular expression, in Go's syntax, that some part of the text must match."`
	Message string `bake:"message" help:"What is shown before the text."`
}

func (t *T) matchMethod() builtins.Builtin {
	return builtins.Declare("t.match", "Asserts that a text matches a regular expression.", "bool",
		func(c *builtins.Call, a *matchArgs) (starlark.Value, error) {
			match, err := regexp.Compile(a.Match)
			if err != nil {
				return nil, fmt.Errorf("match: %w", err)
			}
			if match.MatchString(a.Text) {
				return starlark.True, nil
			}
			return t.fail(c, a.Message, fmt.Sprintf("no match\nwant: %s\nin:   %s", a.Match, indent(a.Text, 6)))
		})
}

func indent(s string, n int) string { return strings.ReplaceAll(s, "\n", "\n"+strings.Repeat(" ", n)) }
