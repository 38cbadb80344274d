package doc

import (
	"strings"

	"go.starlark.net/syntax"
)

func params(list []syntax.Expr) []Param {
	var out []Param
	keyword := false
	for _, x := range list {
		p := Param{Keyword: keyword}
		switch x := x.(type) {
		case *syntax.Ident:
			p.Name = x.Name
		case *syntax.BinaryExpr:
			p.Name, p.Default = expression(x.X), expression(x.Y)
		case *syntax.UnaryExpr:
			p.Name, p.Keyword = x.Op.String()+expression(x.X), false
			keyword = true
		}
		out = append(out, p)
	}
	return out
}

// expression shows a value as it is written, or "…" for one that is not simple.
func expression(x syntax.Expr) string {
	switch x := x.(type) {
	case nil:
		return ""
	case *syntax.Ident:
		return x.Name
	case *syntax.Literal:
		if strings.Contains(x.Raw, "\n") {
			return "…"
		}
		return x.Raw
	case *syntax.BinaryExpr:
		return expression(x.X) + " " + x.Op.String() + " " + expression(x.Y)
	case *syntax.UnaryExpr:
		return x.Op.String() + expression(x.X)
	case *syntax.DotExpr:
		return expression(x.X) + "." + x.Name.Name
	case *syntax.ListExpr:
		return "[" + expressions(x.List) + "]"
	case *syntax.TupleExpr:
		return expressions(x.List)
	case *syntax.ParenExpr:
		return "(" + expression(x.X) + ")"
	case *syntax.DictExpr:
		return "{" + expressions(x.List) + "}"
	case *syntax.DictEntry:
		return expression(x.Key) + ": " + expression(x.Value)
	}
	return "…"
}

func expressions(list []syntax.Expr) string {
	const most = 8
	var texts []string
	for i, x := range list {
		if i == most {
			texts = append(texts, "…")
			break
		}
		texts = append(texts, expression(x))
	}
	return strings.Join(texts, ", ")
}
