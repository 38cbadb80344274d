package eval

import (
	"fmt"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// What one operation may make of a sequence by "*". It is a single step of the
// interpreter, so that no limit of steps and no watch of the heap bounds it.
const (
	maxRepeatBytes    = 64 << 20
	maxRepeatElements = 4_000_000
)

// countName is the name of the function that guard calls. No definition can
// use it.
const countName = "(count)"

// guard makes each multiplication of f one that is bounded: x * y becomes
// x * count(y), where what count returns refuses to repeat a sequence too often.
func guard(f *syntax.File) {
	count := func(pos syntax.Position, y syntax.Expr) syntax.Expr {
		return &syntax.CallExpr{
			Fn:     &syntax.Ident{NamePos: pos, Name: countName},
			Lparen: pos,
			Args:   []syntax.Expr{y},
			Rparen: pos,
		}
	}
	syntax.Walk(f, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.BinaryExpr:
			if n.Op == syntax.STAR {
				n.Y = count(n.OpPos, n.Y)
			}
		case *syntax.AssignStmt:
			if n.Op == syntax.STAR_EQ {
				n.RHS = count(n.OpPos, n.RHS)
			}
		}
		return true
	})
}

func newCount() *starlark.Builtin {
	return starlark.NewBuiltin(countName, func(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		return counted{args[0]}, nil
	})
}

// counted is the right operand of a multiplication.
type counted struct{ starlark.Value }

var _ starlark.HasBinary = counted{}

// Binary implements starlark.HasBinary: it multiplies x by the operand.
func (c counted) Binary(op syntax.Token, x starlark.Value, _ starlark.Side) (starlark.Value, error) {
	if err := checkRepeat(x, c.Value); err != nil {
		return nil, err
	}
	if err := checkRepeat(c.Value, x); err != nil {
		return nil, err
	}
	return starlark.Binary(op, x, c.Value)
}

func checkRepeat(seq, times starlark.Value) error {
	n, ok := times.(starlark.Int)
	size := starlark.Len(seq)
	if !ok || size <= 0 {
		return nil
	}
	limit, unit := maxRepeatElements, "elements"
	switch seq.(type) {
	case starlark.String, starlark.Bytes:
		limit, unit = maxRepeatBytes, "bytes"
	}
	if count, ok := n.Int64(); n.Sign() > 0 && (!ok || count > int64(limit/size)) {
		return fmt.Errorf("%d %s repeated %s times are more than %d", size, unit, n, limit)
	}
	return nil
}
