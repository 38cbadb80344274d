package eval

import (
	"context"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestOneOperation has operations that would take very long or all memory, each
// in one step of the interpreter. All are refused at their line, before.
func TestOneOperation(t *testing.T) {
	for name, text := range map[string]string{
		"replace":           "b = 'b' * 60000000\na = 'a' * 30000\nx = a.replace('a', b)",
		"replace nothing":   "b = 'b' * 60000000\na = 'a' * 30000\nx = a.replace('', b)",
		"method as a value": "b = 'b' * 60000000\nf = ('a' * 30000).replace\nx = f('a', b)",
		"getattr":           "b = 'b' * 60000000\nf = getattr('a' * 30000, 'replace')\nx = f('a', b)",
		"join":              "b = 'b' * 60000000\na = ['x'] * 10000\nx = b.join(a)",
		"join long":         "b = 'b' * 60000000\na = [b] * 10000\nx = ''.join(a)",
		"format":            "b = 'b' * 60000000\na = '{0}' * 5000\nx = a.format(b)",
		"format by name":    "b = 'b' * 60000000\na = '{k}' * 5000\nx = a.format(k = b)",
		"percent":           "b = 'b' * 60000000\na = '%s' * 1000\nx = a % tuple([b] * 1000)",
		"percent, in place": "b = 'b' * 60000000\nx = '%s' * 1000\nx %= tuple([b] * 1000)",
		"percent of a dict": "b = 'b' * 60000000\na = '%(k)s' * 1000\nx = a % {'k': b}",
		"split":             "\na = 'a ' * 30000000\nx = a.split()",
		"split at":          "\na = 'a,' * 30000000\nx = a.split(',')",
		"splitlines":        "\na = '\\n' * 30000000\nx = a.splitlines()",
		"elems":             "\na = 'a' * 60000000\nx = list(a.elems())",
		"elems of bytes":    "\na = b'a' * 60000000\nx = list(a.elems())",
		"codepoints":        "\na = 'a' * 60000000\nx = list(a.codepoints())",
		"zip":               "r = range(10000000)\na = [r] * 1000\nx = zip(*a)",
		"squares":           "def f(x):\n    for i in range(1000):\n        x = x * x\nf(3)",
		"shifts":            "def f(x):\n    for i in range(1000000):\n        x = x << 500\nf(3)",
		"shifts in place":   "def f(x):\n    for i in range(1000000):\n        x <<= 500\nf(3)",
		"digits":            "\na = '9' * 5000000\nx = int(a)",
		"digits of a base":  "\na = 'f' * 5000000\nx = int(a, 16)",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Run(context.Background(), Config{Project: project(t, map[string]string{"images.star": text})})
			if err == nil || !regexp.MustCompile(`(are more|is longer) than \d+$`).MatchString(err.Error()) {
				t.Fatalf("error %v", err)
			}
			if at := Frames(err); len(at) == 0 || at[0].Line != 3 {
				t.Errorf("at %v, want line 3", at)
			}
		})
	}
	runtime.GC() // other tests look at the heap
}

// TestGuardsChangeNothing holds that bounded operations are what they were.
func TestGuardsChangeNothing(t *testing.T) {
	globals, err := Run(context.Background(), Config{Project: project(t, map[string]string{"images.star": `
def f(x, y):
    x <<= y
    return x
def g(x, y):
    x %= y
    return x
got = [
    'abcabc'.replace('b', 'x'), 'abcabc'.replace('b', '', 1), 'ab'.replace('', '-'), ', '.join(['a', 'b']), '-'.join(('a',)), ''.join([]),
    '{} {{}} {k}'.format(1, k = 'x'), 'a b  c'.split(), 'a,b'.split(',', 1), 'a,b,c'.rsplit(',', 1), 'a\nb'.splitlines(True),
    list('ab'.elems()), list(b'ab'.elems()), list('ab'.elem_ords()), list('é'.codepoints()), list('é'.codepoint_ords()),
    '%s and %d' % ('x', 3), '%s' % 'y', '%(k)s' % {'k': 1}, 7 % 3, -7 % 3, 7.5 % 2, g(7, 4), g('%s', 'z'),
    1 << 3, f(1, 100), zip([1, 2], 'ab'.elems()), zip(), int('12'), int('ff', 16), int(3.7), getattr('a-b', 'split')('-'),
    getattr([1], 'none', 5), type('a'.join), str('a'.join), list(range(2, 8, 3)), [x for x in range(3)],
]
want = [
    'axcaxc', 'acabc', '-a-b-', 'a, b', 'a', '',
    '1 {} x', ['a', 'b', 'c'], ['a', 'b'], ['a,b', 'c'], ['a\n', 'b'],
    ['a', 'b'], [97, 98], [97, 98], ['é'], [233],
    'x and 3', 'y', '1', 1, 2, 1.5, 3, 'z',
    8, 1267650600228229401496703205376, [(1, 'a'), (2, 'b')], [], 12, 255, 3, ['a', 'b'],
    5, 'builtin_function_or_method', '<built-in method join of string value>', [2, 5], [0, 1, 2],
]
`})})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := globals["got"].String(), globals["want"].String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestErrorsOfGuarded holds that wrong uses of bounded operations say what they
// said without a bound.
func TestErrorsOfGuarded(t *testing.T) {
	for text, want := range map[string]string{
		"x = 1 << 'a'":         `got string, want int`,
		"x = 1 << -1":          `negative shift count`,
		"x = 1 << 600":         `shift count too large`,
		"x = 3 % 0":            `integer modulo by zero`,
		"x = None % 3":         `unknown binary op: NoneType % int`,
		"x = '%s %s' % 3":      `not enough arguments for format string`,
		"x = 'a'.replace('b')": `replace: got 1 arguments, want at least 2`,
		"x = 'a'.join([1])":    `join: in list, want string, got int`,
		"x = 'a'.join(3)":      `join: for parameter 1: got int, want iterable`,
		"x = b'a'.join([])":    `bytes has no .join field or method`,
		"x = None.join([])":    `NoneType has no .join field or method`,
		"x = int('z')":         `int: invalid literal with base 10: z`,
		"x = range('a')":       `range: for parameter 1: got string, want int`,
		"x = zip(1)":           `zip: argument #1 is not iterable: int`,
	} {
		_, err := Run(context.Background(), Config{Project: project(t, map[string]string{"images.star": text})})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", text, err, want)
		}
	}
}

// TestTime has evaluations that no step and no memory bounds: they walk values
// that hold one another many times over. What is left behind ends soon.
func TestTime(t *testing.T) {
	const twice = "def f(x):\n    for i in range(28):\n        x = (x, x)\n    return x\n"
	for name, text := range map[string]string{
		"hashed":               twice + "x = {f(0): 1}\n",
		"frozen at the end":    twice + "x = f(0)\n",
		"sums of huge numbers": "def f(x):\n    for i in range(10000000):\n        x += x\nf(1)\n",
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := Run(context.Background(), Config{
				Project:  project(t, map[string]string{"images.star": text}),
				MaxSteps: 1 << 40,
				MaxTime:  50 * time.Millisecond,
			})
			if !IsLimit(err) || !strings.Contains(err.Error(), "evaluation stopped after 50ms") {
				t.Errorf("error %v, want that the time was over", err)
			}
			if took := time.Since(start); took > time.Minute {
				t.Errorf("it took %v", took)
			}
		})
	}
}
