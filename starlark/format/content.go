package format

import (
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/syntax"

	"bake.build/bake/starlark/scan"
)

// A content is what must stay of a file when it is formatted.
type content struct {
	tree     []mark // in the order of the text
	comments []scan.Comment
}

// A mark is one node of the syntax tree, without its place and its spelling, or the
// end of one.
type mark struct {
	text string
	line int
}

// contentOf returns the content of a file. It fails where the file is nested too deep
// to be printed.
func contentOf(name string, file *syntax.File, text []byte) (*content, error) {
	c := &content{comments: scan.Comments(text)}
	var open []bool // for each node that is open, whether it has a mark
	var deep bool
	line := 1
	syntax.Walk(file, func(n syntax.Node) bool {
		if n == nil {
			last := len(open) - 1
			if open[last] {
				c.tree = append(c.tree, mark{"end", line})
			}
			open = open[:last]
			return true
		}
		if deep = deep || len(open) > maxDepth; deep {
			return false
		}
		line = max(line, lineOf(n))
		_, parens := n.(*syntax.ParenExpr)
		if !parens {
			c.tree = append(c.tree, mark{describe(n), line})
		}
		open = append(open, !parens)
		return true
	})
	if deep {
		return nil, at(name, line, 1, fmt.Sprintf("cannot format this: it is nested more than %d levels deep", maxDepth))
	}
	// The printer may put comments of one statement in another order.
	slices.SortStableFunc(c.comments, func(a, b scan.Comment) int { return strings.Compare(words(a), words(b)) })
	return c, nil
}

// lineOf returns the line of a node that is a word of the text, or 0. Others begin
// where their first word does; to ask one takes as long as it is deep.
func lineOf(n syntax.Node) int {
	switch n := n.(type) {
	case *syntax.Ident:
		return int(n.NamePos.Line)
	case *syntax.Literal:
		return int(n.TokenPos.Line)
	}
	return 0
}

// words is what a comment says.
func words(c scan.Comment) string { return strings.TrimLeft(c.Text, "# \t") }

// differs returns what of c is not in other, and at which line of c; what is "" where
// both are equal.
func (c *content) differs(other *content) (line int, what string) {
	for i, m := range c.tree {
		if i >= len(other.tree) || other.tree[i].text != m.text {
			return m.line, "its meaning would change from this line on"
		}
	}
	for i, m := range c.comments {
		if i >= len(other.comments) || words(other.comments[i]) != words(m) {
			return m.Line, "this comment would change"
		}
	}
	if len(other.tree) > len(c.tree) || len(other.comments) > len(c.comments) {
		return 1, "something would be added"
	}
	return 0, ""
}

// describe says what n is beside its children and how these are to be told apart.
func describe(n syntax.Node) string {
	switch n := n.(type) {
	case *syntax.Ident:
		return "name " + n.Name
	case *syntax.Literal:
		return fmt.Sprintf("literal %v %v", n.Token, n.Value)
	case *syntax.AssignStmt:
		return "assign " + n.Op.String()
	case *syntax.BranchStmt:
		return n.Token.String()
	case *syntax.BinaryExpr:
		return "binary " + n.Op.String()
	case *syntax.UnaryExpr:
		return "unary " + n.Op.String()
	case *syntax.Comprehension:
		return fmt.Sprint("comprehension ", n.Curly, len(n.Clauses))
	case *syntax.SliceExpr:
		return fmt.Sprint("slice ", n.Lo != nil, n.Hi != nil, n.Step != nil)
	case *syntax.IfStmt:
		return fmt.Sprint("if ", len(n.True), len(n.False))
	case *syntax.DefStmt:
		return fmt.Sprint("def ", len(n.Params))
	case *syntax.LambdaExpr:
		return fmt.Sprint("lambda ", len(n.Params))
	case *syntax.LoadStmt:
		return fmt.Sprint("load ", len(n.From))
	}
	return fmt.Sprintf("%T", n)
}
