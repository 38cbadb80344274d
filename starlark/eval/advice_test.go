package eval

import (
	"errors"
	"strings"
	"testing"

	"go.starlark.net/syntax"
)

// TestAdvice looks at the mistakes of people who know Python.
func TestAdvice(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"m = source(rootfs(),\n  debian = \"x\"\n  packages = [])\n", "missing at the end of line 2"},
		{"m = f(1,\n\n  # why\n  a = 1\n\n  # because\n  b = 2)\n", "missing at the end of line 4"},
		{"m = f(1\nn = 2\n", "missing at the end of line 1"},
		{"m = f(1, a b)\n", "missing before it"},
		{"x = [\"a\" \"b\"]\n", "side by side are not joined"},
		{"import os\n", `load("lib/web.star", "web")`},
		{"from x import y\n", `load("lib/web.star", "web")`},
		{"class X:\n    pass\n", "struct(a = 1)"},
		{"try:\n    x = 1\nexcept:\n    pass\n", "no exceptions"},
		{"with open(\"x\") as f:\n    pass\n", "read_file"},
		{"x = f\"a {y}\"\n", "no f-strings"},
		{"if True:\n    x = 1\n\ty = 2\n", "spaces alone"},
		{"if True:\n    x = 1\n      y = 2\n", "same column"},
		{"if x\n    y = 1\n", "colon"},
		{"x = = 1\n", ""},
		{"if x:\n    y = 1\nelse if z:\n    y = 2\n", "elif"},
		{"source \"qemu\" \"x\" {\n  iso_url = \"x\"\n}\n", "this is HCL"},
		{"variable \"x\" {\n}\n", "this is HCL"},
		{"builds:\n  - type: qemu\n", "this is YAML"},
		{"m = f(“x”)\n", "Starlark's quotes"},
		{"\xff\xfem\x00 \x00=\x00", "UTF-16"},
	} {
		_, err := dialect.Parse("x.star", c.text, 0)
		if err == nil {
			t.Errorf("%q parses", c.text)
			continue
		}
		got := ""
		var hinted *adviceError
		if errors.As(advise(err, []byte(c.text)), &hinted) {
			got = hinted.Hint()
			var e syntax.Error
			if !errors.As(error(hinted), &e) {
				t.Errorf("%q: the position is lost", c.text)
			}
		}
		if !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%q: %v: advice %q, want %q", c.text, err, got, c.want)
		}
	}
}

// TestTokenStart looks at where what was not expected begins.
func TestTokenStart(t *testing.T) {
	for _, c := range []struct {
		text string
		col  int32
	}{
		{"m = f(1,\n  a = \"x\"\n  name = 2)\n", 3},
		{"m = f(\"é\", [\"nginx\" \"curl\"])\n", 21},
		{"x = 12 34\n", 8},
		{"builds:\n", 7},
		{"import os\n", 1},
		{"x = = 1\n", 5},
	} {
		_, err := dialect.Parse("x.star", c.text, 0)
		var e syntax.Error
		if !errors.As(advise(err, []byte(c.text)), &e) || e.Pos.Col != c.col {
			t.Errorf("%q: %v: column %d, want %d", c.text, err, e.Pos.Col, c.col)
		}
	}
}

// FuzzAdvise has every text either parsed or refused at a place in it.
func FuzzAdvise(f *testing.F) {
	for _, text := range []string{"m = f(1, a b)\n", "x = f\"a {y}\"\n", "if True:\n\tx\n  y\n", "\xff\n", "ü = é é", "source \"q\" {\n", "x = \"\"\"\n", "f(1\n", "\r!", "@"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4<<10 {
			return
		}
		_, err := dialect.Parse("x.star", text, 0)
		if err == nil {
			return
		}
		var e syntax.Error
		if err := advise(err, []byte(text)); !errors.As(err, &e) {
			t.Errorf("%v: no syntax error", err)
		}
		// For the parser, a carriage return alone ends a line, too.
		lines := 1 + strings.Count(text, "\n") + strings.Count(text, "\r")
		if e.Pos.Line < 1 || int(e.Pos.Line) > lines || e.Pos.Col < 1 {
			t.Errorf("%v is not in the text", e)
		}
	})
}
