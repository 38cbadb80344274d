package builtins

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"bake.build/bake/platforms"
	"go.starlark.net/starlark"
)

// A Duration is an argument such as "90s".
type Duration time.Duration

// KindName implements Kind.
func (*Duration) KindName() string { return "duration" }

// Unpack implements starlark.Unpacker.
func (d *Duration) Unpack(v starlark.Value) error {
	s, ok := starlark.AsString(v)
	if !ok {
		return fmt.Errorf(`got %s, want a duration such as "90s"`, v.Type())
	}
	parsed, err := platforms.ParseDuration(s)
	*d = Duration(parsed)
	return err
}

// A Size is an argument such as "4G", in bytes.
type Size int64

// KindName implements Kind.
func (*Size) KindName() string { return "size" }

// Unpack implements starlark.Unpacker.
func (z *Size) Unpack(v starlark.Value) error {
	s, ok := starlark.AsString(v)
	if !ok {
		return fmt.Errorf(`got %s, want a size such as "4G"`, v.Type())
	}
	n, err := platforms.ParseSize(s)
	*z = Size(n)
	return err
}

// A Mode is an argument such as "0644": permission bits in octal.
type Mode uint32

// KindName implements Kind.
func (*Mode) KindName() string { return "mode" }

// Unpack implements starlark.Unpacker. A number is taken for its value, so that
// 0o644 is what "0644" is.
func (m *Mode) Unpack(v starlark.Value) error {
	var n uint64
	if s, ok := starlark.AsString(v); ok {
		parsed, err := strconv.ParseUint(strings.TrimPrefix(s, "0o"), 8, 32)
		if err != nil {
			return fmt.Errorf(`%q is not a mode such as "0644"`, s)
		}
		n = parsed
	} else if i, ok := v.(starlark.Int); ok {
		value, small := i.Uint64()
		if !small {
			return fmt.Errorf("%s is not a mode such as 0o644", v)
		}
		if slices.Contains(decimalModes, value) {
			return fmt.Errorf(`%d is 0o%o, which is hardly meant: write "0%d" or 0o%d`, value, value, value, value)
		}
		n = value
	} else {
		return fmt.Errorf(`got %s, want a mode such as "0644"`, v.Type())
	}
	if n == 0 || n > 0o7777 {
		return fmt.Errorf("%s is not a mode such as \"0644\"", v)
	}
	*m = Mode(n)
	return nil
}

// decimalModes are numbers that look like usual modes and are others: 644 is
// 0o1204, and 400, which should hide a key, is 0o620. Whoever means these writes
// them as texts.
var decimalModes = []uint64{
	400, 440, 444, 500, 550, 555, 600, 640, 644, 660, 664, 666, 700, 710, 711, 750, 755, 770, 775, 777,
	1755, 1770, 1775, 1777, 2750, 2755, 2770, 2775, 4750, 4755,
}

// Lines are an argument that is a text, or a list of lines of one.
type Lines string

// KindName implements Kind.
func (*Lines) KindName() string { return "string or list of strings" }

// Unpack implements starlark.Unpacker.
func (l *Lines) Unpack(v starlark.Value) error {
	if s, err := asText(v); err == nil {
		*l = Lines(dedent(s))
		return nil
	} else if err != errType {
		return err
	}
	list, err := asStrings(v)
	if err == errType {
		return wrongType(v, l.KindName())
	} else if err != nil {
		return err
	}
	*l = Lines(strings.Join(list, "\n"))
	return nil
}

// dedent drops a first empty line, a last line of blanks, and what all lines
// that are not blank begin with in blanks.
func dedent(s string) string {
	first, rest, multi := strings.Cut(s, "\n")
	if !multi {
		return s
	}
	if strings.TrimSpace(first) == "" {
		s = rest
	}
	lines := strings.Split(s, "\n")
	if last := len(lines) - 1; strings.TrimSpace(lines[last]) == "" {
		lines[last] = ""
	}
	margin := commonMargin(lines)
	for i, line := range lines {
		if cut, ok := strings.CutPrefix(line, margin); ok {
			lines[i] = cut
		} else {
			lines[i] = strings.TrimLeft(line, " \t")
		}
	}
	return strings.Join(lines, "\n")
}

func commonMargin(lines []string) string {
	margin, found := "", false
	for _, line := range lines {
		text := strings.TrimLeft(line, " \t")
		if text == "" {
			continue
		}
		blanks := line[:len(line)-len(text)]
		if !found {
			margin, found = blanks, true
		}
		for !strings.HasPrefix(blanks, margin) {
			margin = margin[:len(margin)-1]
		}
	}
	return margin
}

// Words are an argument that is a list of words, or one string of words that
// blanks separate.
type Words []string

// KindName implements Kind.
func (*Words) KindName() string { return "string or list of strings" }

// Unpack implements starlark.Unpacker.
func (w *Words) Unpack(v starlark.Value) error {
	if s, err := asText(v); err == nil {
		*w = strings.Fields(s)
		return nil
	}
	list, err := asStrings(v)
	if err == errType {
		return wrongType(v, w.KindName())
	}
	*w = list
	return err
}

// A Count is an argument that is an integer of zero or more.
type Count int

// KindName implements Kind.
func (*Count) KindName() string { return "int" }

// Unpack implements starlark.Unpacker.
func (n *Count) Unpack(v starlark.Value) error {
	i, err := asInt(v)
	if err == errType {
		return wrongType(v, n.KindName())
	} else if err != nil || i < 0 {
		return fmt.Errorf("%s is out of range", v)
	}
	*n = Count(i)
	return nil
}

// ExitCodes are an argument that is a list of exit codes.
type ExitCodes []int

// KindName implements Kind.
func (*ExitCodes) KindName() string { return "list of ints" }

// Unpack implements starlark.Unpacker.
func (n *ExitCodes) Unpack(v starlark.Value) error {
	seq, ok := v.(starlark.Sequence)
	if !ok {
		return wrongType(v, n.KindName())
	}
	for e := range starlark.Elements(seq) {
		code, err := asInt(e)
		if err == errType {
			return fmt.Errorf("element %d: %w", len(*n), wrongType(e, "int"))
		} else if err != nil || code < 0 || code > 255 {
			return fmt.Errorf("%s is not an exit code", e)
		}
		*n = append(*n, code)
	}
	if len(*n) == 0 {
		return errors.New("the list is empty")
	}
	return nil
}

// Paths are an argument that is one path or a list of them.
type Paths []string

// KindName implements Kind.
func (*Paths) KindName() string { return "string or list of strings" }

// Unpack implements starlark.Unpacker.
func (p *Paths) Unpack(v starlark.Value) error {
	if s, err := asText(v); err == nil {
		*p = Paths{s}
		return nil
	}
	list, err := asStrings(v)
	if err == errType {
		return wrongType(v, p.KindName())
	} else if err == nil && len(list) == 0 {
		return errors.New("the list is empty")
	}
	*p = list
	return err
}

// Platforms are an argument that is one platform or a list of them.
type Platforms []*Platform

// KindName implements Kind.
func (*Platforms) KindName() string { return "platform or list of platforms" }

// Unpack implements starlark.Unpacker.
func (p *Platforms) Unpack(v starlark.Value) error {
	if one, ok := v.(*Platform); ok {
		*p = Platforms{one}
		return nil
	}
	list, ok := v.(starlark.Indexable)
	if _, text := v.(starlark.String); !ok || text {
		return wrongType(v, p.KindName())
	}
	if list.Len() == 0 {
		return errors.New("the list is empty")
	}
	for i := range list.Len() {
		one, ok := list.Index(i).(*Platform)
		if !ok {
			return wrongType(list.Index(i), "platform")
		}
		*p = append(*p, one)
	}
	return nil
}
