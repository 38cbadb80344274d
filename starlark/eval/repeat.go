package eval

import (
	"fmt"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// What one operation may make of a sequence by "*", and add to one by "+". Each
// is a single step of the interpreter, so that no limit of steps bounds it, and
// a watch of the heap sees it only when it is done.
const (
	maxRepeatBytes    = 64 << 20
	maxRepeatElements = 4_000_000
)

// The names of the functions that guard calls. No definition can use them.
const (
	countName = "(count)"
	addedName = "(added)"
)

// guard makes each multiplication and each addition of f one that is bounded:
// x * y becomes x * count(y), where what count returns refuses to repeat a
// sequence too often, and x + y becomes x + added(y), where added refuses a
// sequence that is too long.
func guard(f *syntax.File) {
	call := func(name string, pos syntax.Position, y syntax.Expr) syntax.Expr {
		return &syntax.CallExpr{
			Fn:     &syntax.Ident{NamePos: pos, Name: name},
			Lparen: pos,
			Args:   []syntax.Expr{y},
			Rparen: pos,
		}
	}
	count := func(pos syntax.Position, y syntax.Expr) syntax.Expr { return call(countName, pos, y) }
	added := func(pos syntax.Position, y syntax.Expr) syntax.Expr {
		switch y.(type) {
		case *syntax.Literal, *syntax.ListExpr, *syntax.TupleExpr:
			return y // no longer than the text of the definition
		}
		return call(addedName, pos, y)
	}
	syntax.Walk(f, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.BinaryExpr:
			switch n.Op {
			case syntax.STAR:
				n.Y = count(n.OpPos, n.Y)
			case syntax.PLUS:
				n.Y = added(n.OpPos, n.Y)
			}
		case *syntax.AssignStmt:
			switch n.Op {
			case syntax.STAR_EQ:
				n.RHS = count(n.OpPos, n.RHS)
			case syntax.PLUS_EQ:
				n.RHS = added(n.OpPos, n.RHS)
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

func newAdded() *starlark.Builtin {
	return starlark.NewBuiltin(addedName, func(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		if limit, unit := maxLength(args[0]); starlark.Len(args[0]) > limit {
			return nil, fmt.Errorf("%d %s to be added are more than %d", starlark.Len(args[0]), unit, limit)
		}
		return args[0], nil
	})
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
	limit, unit := maxLength(seq)
	if count, ok := n.Int64(); n.Sign() > 0 && (!ok || count > int64(limit/size)) {
		return fmt.Errorf("%d %s repeated %s times are more than %d", size, unit, n, limit)
	}
	return nil
}
