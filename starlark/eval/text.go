package eval

import (
	"fmt"
	"math"
	"strings"
	"unicode"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// maxFilled bounds what a template could become at most, which is more than it
// becomes: not every mark takes the longest value.
const maxFilled = 4 * maxRepeatBytes

// textChecks are the methods of texts that can make much of little in one call:
// texts whose length is a product, and lists of many small pieces.
var textChecks = map[string]argCheck{
	"replace": checkReplace, "join": checkJoin, "format": checkFormat,
	"split": checkSplit, "rsplit": checkSplit, "splitlines": checkSplitLines,
	"elems": checkElems, "elem_ords": checkElems, "codepoints": checkElems, "codepoint_ords": checkElems,
}

// boundedText returns x, or for a text one whose methods are bounded.
func boundedText(x starlark.Value) starlark.Value {
	switch x := x.(type) {
	case starlark.String:
		return text{x}
	case starlark.Bytes:
		return text{x}
	}
	return x
}

// A text is a String or Bytes of which an attribute is about to be taken.
type text struct{ starlark.HasAttrs }

// Attr implements starlark.HasAttrs.
func (t text) Attr(name string) (starlark.Value, error) {
	m, err := t.HasAttrs.Attr(name)
	if check := textChecks[name]; m != nil && err == nil && check != nil {
		return bounded(name, m, check).BindReceiver(t.HasAttrs), nil
	}
	return m, err
}

// guardedGetattr is getattr with the methods of texts bounded.
func guardedGetattr(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if len(args) > 0 {
		args = append(starlark.Tuple{boundedText(args[0])}, args[1:]...)
	}
	return starlark.Call(thread, starlark.Universe["getattr"], args, kwargs)
}

func checkReplace(x starlark.Value, args starlark.Tuple, _ []starlark.Tuple) error {
	if len(args) < 2 {
		return nil // the call itself says what is wrong
	}
	s, old, now := string(x.(starlark.String)), textOf(args[0]), textOf(args[1])
	n := strings.Count(s, old)
	if len(args) > 2 {
		if most, err := starlark.AsInt32(args[2]); err == nil && most >= 0 {
			n = min(n, most)
		}
	}
	return tooLong(float64(len(s))+float64(n)*float64(len(now)-len(old)), maxRepeatBytes)
}

func checkJoin(x starlark.Value, args starlark.Tuple, _ []starlark.Tuple) error {
	if len(args) < 1 {
		return nil
	}
	seq, ok := args[0].(starlark.Sequence)
	if !ok {
		return nil
	}
	size := float64(starlark.Len(x)) * float64(max(0, seq.Len()-1))
	for e := range starlark.Elements(seq) {
		size += float64(len(textOf(e)))
	}
	return tooLong(size, maxRepeatBytes)
}

func checkFormat(x starlark.Value, args starlark.Tuple, kwargs []starlark.Tuple) error {
	longest := 0
	for _, a := range args {
		longest = max(longest, len(textOf(a)))
	}
	for _, kv := range kwargs {
		longest = max(longest, len(textOf(kv[1])))
	}
	s := string(x.(starlark.String))
	marks := strings.Count(s, "{") - 2*strings.Count(s, "{{")
	return tooLong(float64(len(s))+float64(marks)*float64(longest), maxFilled)
}

func checkSplit(x starlark.Value, args starlark.Tuple, _ []starlark.Tuple) error {
	s := string(x.(starlark.String))
	if len(s) <= maxRepeatElements {
		return nil
	}
	if len(args) > 0 && textOf(args[0]) != "" {
		return tooMany(float64(strings.Count(s, textOf(args[0])) + 1))
	}
	words, space := 0, true
	for _, r := range s {
		was := space
		if space = r == ' ' || unicode.IsSpace(r); was && !space {
			words++
		}
	}
	return tooMany(float64(words))
}

func checkSplitLines(x starlark.Value, _ starlark.Tuple, _ []starlark.Tuple) error {
	return tooMany(float64(strings.Count(string(x.(starlark.String)), "\n")))
}

func checkElems(x starlark.Value, _ starlark.Tuple, _ []starlark.Tuple) error {
	return tooMany(float64(starlark.Len(x)))
}

// filled is the right operand of "%".
type filled struct{ starlark.Value }

var _ starlark.HasBinary = filled{}

// Binary implements starlark.HasBinary: it fills the template x, or takes the
// remainder.
func (f filled) Binary(_ syntax.Token, x starlark.Value, _ starlark.Side) (starlark.Value, error) {
	if s, ok := x.(starlark.String); ok {
		longest := len(textOf(f.Value))
		switch v := f.Value.(type) {
		case starlark.Tuple:
			for _, e := range v {
				longest = max(longest, len(textOf(e)))
			}
		case starlark.IterableMapping:
			for _, e := range starlark.Entries(v) {
				longest = max(longest, len(textOf(e)))
			}
		}
		marks := strings.Count(string(s), "%")
		if err := tooLong(float64(len(s))+float64(marks)*float64(longest), maxFilled); err != nil {
			return nil, err
		}
	}
	return starlark.Binary(syntax.PERCENT, x, f.Value)
}

// maxDigits is how many characters a text has at most that becomes an integer.
const maxDigits = maxBits / 3

func checkInt(_ starlark.Value, args starlark.Tuple, _ []starlark.Tuple) error {
	if len(args) > 0 && len(textOf(args[0])) > maxDigits {
		return fmt.Errorf("int: a text of %d characters is longer than %d", len(textOf(args[0])), maxDigits)
	}
	return nil
}

func checkZip(_ starlark.Value, args starlark.Tuple, _ []starlark.Tuple) error {
	shortest := math.MaxInt
	for _, a := range args {
		if n := starlark.Len(a); n >= 0 {
			shortest = min(shortest, n)
		}
	}
	if len(args) == 0 || shortest == math.MaxInt {
		return nil
	}
	return tooMany(float64(shortest) * float64(len(args)))
}

// checkRange bounds what one call of list() or max() runs over without a step
// that a limit could count.
func checkRange(_ starlark.Value, args starlark.Tuple, kwargs []starlark.Tuple) error {
	v, err := starlark.Call(&starlark.Thread{}, starlark.Universe["range"], args, kwargs)
	if err != nil {
		return nil // the call itself says what is wrong
	}
	if n := starlark.Len(v); n > maxRange {
		return fmt.Errorf("range: %d elements are more than %d", n, maxRange)
	}
	return nil
}

// textOf returns the text that v is, or "".
func textOf(v starlark.Value) string {
	s, _ := starlark.AsString(v)
	return s
}

func tooLong(bytes float64, limit int) error {
	if bytes > float64(limit) {
		return fmt.Errorf("the result may have %.0f bytes, which are more than %d", bytes, limit)
	}
	return nil
}

func tooMany(elements float64) error {
	if elements > maxRepeatElements {
		return fmt.Errorf("the result has %.0f elements, which are more than %d", elements, maxRepeatElements)
	}
	return nil
}
