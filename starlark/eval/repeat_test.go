package eval

import (
	"context"
	"strings"
	"testing"
)

// TestDoubling holds that what is added to itself over and over is refused at
// its line before it takes much memory.
func TestDoubling(t *testing.T) {
	for name, text := range map[string]string{
		"list":     "def f():\n    x = [0]\n    for i in range(40):\n        x = x + x\nf()\n",
		"in place": "def f():\n    x = [0]\n    for i in range(40):\n        x += x\nf()\n",
		"tuple":    "def f():\n    x = (0,)\n    for i in range(40):\n        x = x + x\nf()\n",
		"string":   "def f():\n    x = 'x'\n    for i in range(40):\n        x += x\nf()\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Run(context.Background(), Config{Project: project(t, map[string]string{"images.star": text})})
			if err == nil || !strings.Contains(err.Error(), "to be added are more than") {
				t.Fatalf("error %v", err)
			}
			if at := Frames(err); len(at) == 0 || at[0].Line != 4 {
				t.Errorf("at %v, want line 4", at)
			}
		})
	}
}

// TestAdd holds that bounded addition is addition.
func TestAdd(t *testing.T) {
	globals, err := Run(context.Background(), Config{Project: project(t, map[string]string{"images.star": `
def f(x, y):
    old = x
    x += y
    return old, x
one, two, s = 1, 2, 'b'
got = [one + two, one + 2, 'a' + s, s + 'a' + s, [one] + [two], (one,) + (two,), b'x' + b'y', f([1], [2]), f([1], (2,)), f((1,), (2,)), f(1, two), f('x', s)]
want = [3, 3, 'ab', 'bab', [1, 2], (1, 2), b'xy', ([1, 2], [1, 2]), ([1, 2], [1, 2]), ((1,), (1, 2)), (1, 3), ('x', 'xb')]
`})})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := globals["got"].String(), globals["want"].String(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
