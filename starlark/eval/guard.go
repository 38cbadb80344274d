package eval

import (
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// The names of the functions that guard calls. No definition can use them.
const (
	countName  = "(count)"
	shiftName  = "(shift)"
	addedName  = "(added)"
	filledName = "(filled)"
	textName   = "(text)"
)

// guards returns what every module sees beside the predeclared names: the
// functions that guard calls, and those of Starlark whose work in one call is to
// be bounded.
func guards() starlark.StringDict {
	d := starlark.StringDict{}
	for name, wrap := range map[string]func(starlark.Value) (starlark.Value, error){
		countName:  func(y starlark.Value) (starlark.Value, error) { return counted{y}, nil },
		shiftName:  func(y starlark.Value) (starlark.Value, error) { return shifted{y}, nil },
		filledName: func(y starlark.Value) (starlark.Value, error) { return filled{y}, nil },
		addedName:  added,
		textName:   func(x starlark.Value) (starlark.Value, error) { return boundedText(x), nil },
	} {
		d[name] = starlark.NewBuiltin(name, func(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			return wrap(args[0])
		})
	}
	for name, check := range map[string]argCheck{"range": checkRange, "zip": checkZip, "int": checkInt} {
		d[name] = bounded(name, starlark.Universe[name], check)
	}
	d["getattr"] = starlark.NewBuiltin("getattr", guardedGetattr)
	return d
}

// guard makes the operations of f bounded that do much in one step of the
// interpreter: x * y becomes x * count(y), where what count returns refuses to
// repeat a sequence too often; x + y becomes x + added(y), where added refuses
// a sequence that is too long; x << y becomes x * shift(y) and x % y becomes
// x * filled(y), since those operators look at x alone first; and x.join becomes
// text(x).join, for each method in textChecks.
func guard(f *syntax.File) {
	call := func(name string, pos syntax.Position, y syntax.Expr) syntax.Expr {
		return &syntax.CallExpr{Fn: &syntax.Ident{NamePos: pos, Name: name}, Lparen: pos, Args: []syntax.Expr{y}, Rparen: pos}
	}
	operand := func(op syntax.Token, pos syntax.Position, y syntax.Expr) (syntax.Token, syntax.Expr) {
		switch op {
		case syntax.STAR, syntax.STAR_EQ:
			return op, call(countName, pos, y)
		case syntax.LTLT:
			return syntax.STAR, call(shiftName, pos, y)
		case syntax.LTLT_EQ:
			return syntax.STAR_EQ, call(shiftName, pos, y)
		case syntax.PERCENT:
			return syntax.STAR, call(filledName, pos, y)
		case syntax.PERCENT_EQ:
			return syntax.STAR_EQ, call(filledName, pos, y)
		case syntax.PLUS, syntax.PLUS_EQ:
			switch y.(type) {
			case *syntax.Literal, *syntax.ListExpr, *syntax.TupleExpr:
				return op, y // no longer than the text of the definition
			}
			return op, call(addedName, pos, y)
		}
		return op, y
	}
	syntax.Walk(f, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.BinaryExpr:
			n.Op, n.Y = operand(n.Op, n.OpPos, n.Y)
		case *syntax.AssignStmt:
			n.Op, n.RHS = operand(n.Op, n.OpPos, n.RHS)
		case *syntax.DotExpr:
			if textChecks[n.Name.Name] != nil {
				n.X = call(textName, n.Dot, n.X)
			}
		}
		return true
	})
}

// An argCheck returns why a function of Starlark is not to be called with args;
// x is what it is a method of, or nil.
type argCheck func(x starlark.Value, args starlark.Tuple, kwargs []starlark.Tuple) error

// bounded returns the function f that is called only when check allows it.
func bounded(name string, f starlark.Value, check argCheck) *starlark.Builtin {
	var x starlark.Value
	if b, ok := f.(*starlark.Builtin); ok {
		x = b.Receiver()
	}
	return starlark.NewBuiltin(name, func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		if err := check(x, args, kwargs); err != nil {
			return nil, err
		}
		return starlark.Call(thread, f, args, kwargs)
	})
}
