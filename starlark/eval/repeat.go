package eval

import (
	"fmt"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// What one operation may make of a sequence, such as by "*", and add to one by
// "+". Each is a single step of the interpreter, so that no limit of steps bounds
// it, and a watch of the heap sees it only when it is done.
const (
	maxRepeatBytes    = 64 << 20
	maxRepeatElements = 4_000_000
)

// added returns y, which is added to something, unless it is too long a sequence.
func added(y starlark.Value) (starlark.Value, error) {
	if limit, unit := maxLength(y); starlark.Len(y) > limit {
		return nil, fmt.Errorf("%d %s to be added are more than %d", starlark.Len(y), unit, limit)
	}
	return y, nil
}

// maxLength returns how long a sequence one operation may make, and in what.
func maxLength(seq starlark.Value) (limit int, unit string) {
	switch seq.(type) {
	case starlark.String, starlark.Bytes:
		return maxRepeatBytes, "bytes"
	}
	return maxRepeatElements, "elements"
}

// counted is the right operand of a multiplication.
type counted struct{ starlark.Value }

var _ starlark.HasBinary = counted{}

// Binary implements starlark.HasBinary: it multiplies x by the operand.
func (c counted) Binary(_ syntax.Token, x starlark.Value, _ starlark.Side) (starlark.Value, error) {
	err := checkBits(x, c.Value, bits(x)+bits(c.Value))
	if err == nil {
		err = checkRepeat(x, c.Value)
	}
	if err == nil {
		err = checkRepeat(c.Value, x)
	}
	if err != nil {
		return nil, err
	}
	return starlark.Binary(syntax.STAR, x, c.Value)
}

// shifted is the right operand of a shift to the left.
type shifted struct{ starlark.Value }

var _ starlark.HasBinary = shifted{}

// Binary implements starlark.HasBinary: it shifts x by the operand.
func (c shifted) Binary(_ syntax.Token, x starlark.Value, _ starlark.Side) (starlark.Value, error) {
	if by, err := starlark.AsInt32(c.Value); err == nil && by > 0 {
		if err := checkBits(x, c.Value, bits(x)+by); err != nil {
			return nil, err
		}
	}
	return starlark.Binary(syntax.LTLT, x, c.Value)
}

// maxBits is how many bits a product of integers has at most: one of millions
// takes seconds to multiply, and to write as a decimal number.
const maxBits = 1 << 16

// bits returns how many bits an integer has, and 0 for another value.
func bits(v starlark.Value) int {
	i, ok := v.(starlark.Int)
	if !ok {
		return 0
	}
	if _, small := i.Int64(); small {
		return 64
	}
	return i.BigInt().BitLen()
}

func checkBits(x, y starlark.Value, n int) error {
	_, xInt := x.(starlark.Int)
	_, yInt := y.(starlark.Int)
	if xInt && yInt && n > maxBits {
		return fmt.Errorf("the result has %d bits, which are more than %d", n, maxBits)
	}
	return nil
}

func checkRepeat(seq, times starlark.Value) error {
	n, ok := times.(starlark.Int)
	size := starlark.Len(seq)
	if !ok || size <= 0 {
		return nil
	}
	limit, unit := maxLength(seq)
	if count, ok := n.Int64(); n.Sign() > 0 && (!ok || count > int64(limit/size)) {
		return fmt.Errorf("%d %s repeated %s times are more than %d", size, unit, n, limit)
	}
	return nil
}
