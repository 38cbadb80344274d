package spec

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"bake.build/bake/builtins"
	"bake.build/bake/internal/durable"
	"bake.build/bake/internal/lazyregexp"
	"bake.build/bake/internal/regular"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
)

type goldenArgs struct {
	Value starlark.Value `bake:"value,required" help:"What is compared: a plan by its text, a string as it is, another value as it is written."`
	Name  string         `bake:"name" help:"Name of the file: testdata/NAME.golden beside the test's." default:"the test function's name"`
}

var goldenName = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

// maxGolden is how many bytes a golden file has at most.
const maxGolden = 16 << 20

func (t *T) goldenMethod() builtins.Builtin {
	return builtins.Declare("t.golden", `Asserts that a value is what a file beside the test says, such as a whole plan: t.golden(t.plan(layer)). bake test --update writes the file.

The text of a plan has the steps and what they do, and neither keys nor pins: it changes with the definition only.`, "bool",
		func(c *builtins.Call, a *goldenArgs) (starlark.Value, error) {
			if a.Name == "" {
				a.Name = t.test.Name
			}
			if !goldenName.MatchString(a.Name) {
				return nil, fmt.Errorf("name: %q: want letters, digits and _.-", a.Name)
			}
			path := filepath.Join(filepath.Dir(t.test.File), "testdata", a.Name+".golden")
			return t.compareGolden(c, path, goldenText(a.Value))
		})
}

func goldenText(v starlark.Value) string {
	if s, ok := v.(*starlarkstruct.Struct); ok && s.Constructor() == starlark.String("plan") {
		if text, err := s.Attr("text"); err == nil {
			v = text
		}
	}
	if s, ok := starlark.AsString(v); ok {
		return ending(s)
	}
	return ending(show(v))
}

func (t *T) compareGolden(c *builtins.Call, path, got string) (starlark.Value, error) {
	shown := t.project.Show(path)
	if t.runner.options.Update {
		if err := t.runner.writeGolden(path, got); err != nil {
			return nil, fmt.Errorf("update %s: %w", shown, err)
		}
		return starlark.True, nil
	}
	want, err := regular.Read(path, maxGolden)
	if errors.Is(err, fs.ErrNotExist) {
		return t.fail(c, "", shown+" is not there: bake test --update writes it")
	} else if err != nil {
		return nil, err
	}
	if string(want) == got {
		return starlark.True, nil
	}
	return t.fail(c, shown, "it has changed; bake test --update takes that over"+difference(got, string(want)))
}

// writeGolden writes a file, unless it says that already.
func (r *runner) writeGolden(path, text string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if other, ok := r.golden[path]; ok && other != text {
		return errors.New("another test writes something else there: give each a name of its own")
	}
	r.golden[path] = text
	if old, err := regular.Read(path, maxGolden); err == nil && string(old) == text {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return durable.Publish(path, []byte(text))
}
