package spec

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"bake.build/bake/internal/regular"
	"bake.build/bake/starlark/eval"
	"bake.build/bake/starlark/files"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// A Coverage counts which statements of files ran: of those that tests load, and of all of
// the projects and modules that the tests belong to. It is safe for concurrent use.
//
// A line is covered when every statement that begins on it was begun. What lies inside of
// one statement is not told apart: the sides of a conditional expression, the body of a
// lambda or of a comprehension. Files with tests, the shipped library and modules
// that are loaded by a name are not counted.
type Coverage struct {
	mu    sync.Mutex
	files map[string]*coveredFile
	list  []*coveredFile  // by the number that their calls give
	roots map[string]bool // of the projects whose tests were run
}

// A coveredFile is one file of a Coverage.
type coveredFile struct {
	name   string
	number int
	lines  []int // on which statements begin, in the order of the file
	counts []atomic.Uint64
}

// coverName is the function that counts. No definition can name it.
const coverName = "(cover)"

// NewCoverage returns a Coverage that has counted nothing.
func NewCoverage() *Coverage {
	return &Coverage{files: map[string]*coveredFile{}, roots: map[string]bool{}}
}

// addTo has evaluations by cfg counted.
func (c *Coverage) addTo(cfg *eval.Config) {
	c.mu.Lock()
	c.roots[cfg.Project.Root] = true
	c.mu.Unlock()
	cfg.Predeclared[coverName] = starlark.NewBuiltin(coverName, func(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		file, _ := starlark.AsInt32(args[0])
		i, _ := starlark.AsInt32(args[1])
		c.at(file).counts[i].Add(1)
		return starlark.None, nil
	})
	cfg.Rewrite = c.instrument
}

func (c *Coverage) at(number int) *coveredFile {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.list[number]
}

// AddFiles has files count though nothing of them may have run: those below paths, as seen
// from dir, and all of the projects and modules whose tests were run. The error is about
// those that cannot be counted.
func (c *Coverage) AddFiles(dir string, paths []string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	found, err := files.Find(dir, paths, files.IsDefinition)
	if err != nil {
		return err
	}
	below, err := files.Find(dir, slices.Collect(maps.Keys(c.roots)), files.IsDefinition)
	if err != nil {
		return err
	}
	for _, path := range below { // others below a root may be of another module
		if c.roots[eval.Root(filepath.Dir(path))] {
			found = append(found, path)
		}
	}
	var errs []error
	for _, path := range found {
		path, err := filepath.EvalSymlinks(path)
		if err == nil {
			err = c.addFile(eval.Show(dir, path), path)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// maxCovered is how many bytes of a file are read for its coverage.
const maxCovered = 1 << 20

func (c *Coverage) addFile(name, path string) error {
	if c.has(name) {
		return nil
	}
	text, err := regular.Read(path, maxCovered)
	if err != nil {
		return fmt.Errorf("count lines: %w", err)
	}
	f, err := eval.Dialect().Parse(name, text, 0)
	if err != nil {
		return fmt.Errorf("count lines: %w", err)
	}
	c.instrument(name, f)
	return nil
}

func (c *Coverage) has(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.files[name] != nil
}

// instrument puts a call in front of each statement of f, which is called name.
func (c *Coverage) instrument(name string, f *syntax.File) {
	if strings.HasPrefix(name, "@") || strings.HasSuffix(name, Suffix) {
		return
	}
	in := &instrumenter{}
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.files[name]
	if in.number = len(c.list); known != nil {
		in.number = known.number
	}
	f.Stmts = in.block(f.Stmts, true)
	if known == nil {
		known = &coveredFile{name: name, number: in.number, lines: in.lines, counts: make([]atomic.Uint64, len(in.lines))}
		c.files[name], c.list = known, append(c.list, known)
	}
}

// An instrumenter adds calls to one file.
type instrumenter struct {
	number int
	lines  []int
}

// block returns the statements with a call before each. A string that stands first where
// it documents a file or a function stays first.
func (in *instrumenter) block(stmts []syntax.Stmt, documented bool) []syntax.Stmt {
	var with []syntax.Stmt
	for i, s := range stmts {
		if documented && i == 0 && isString(s) {
			with = append(with, s)
			continue
		}
		start, _ := s.Span()
		with = append(with, in.call(start), s)
		switch s := s.(type) {
		case *syntax.DefStmt:
			s.Body = in.block(s.Body, true)
		case *syntax.IfStmt:
			s.True, s.False = in.block(s.True, false), in.block(s.False, false)
		case *syntax.ForStmt:
			s.Body = in.block(s.Body, false)
		case *syntax.WhileStmt:
			s.Body = in.block(s.Body, false)
		}
	}
	return with
}

func isString(s syntax.Stmt) bool {
	e, ok := s.(*syntax.ExprStmt)
	if !ok {
		return false
	}
	l, ok := e.X.(*syntax.Literal)
	return ok && l.Token == syntax.STRING
}

func (in *instrumenter) call(at syntax.Position) syntax.Stmt {
	number := func(n int) syntax.Expr {
		return &syntax.Literal{Token: syntax.INT, TokenPos: at, Raw: fmt.Sprint(n), Value: int64(n)}
	}
	i := len(in.lines)
	in.lines = append(in.lines, int(at.Line))
	return &syntax.ExprStmt{X: &syntax.CallExpr{
		Fn: &syntax.Ident{NamePos: at, Name: coverName}, Lparen: at, Args: []syntax.Expr{number(in.number), number(i)}, Rparen: at,
	}}
}

// A FileCoverage is what was counted of one file.
type FileCoverage struct {
	Name  string
	Lines []LineCoverage // in order
}

// A LineCoverage says how often a line ran: the least of the statements that begin on it.
type LineCoverage struct {
	Line  int
	Count uint64
}

// Covered returns how many lines ran.
func (f FileCoverage) Covered() int {
	n := 0
	for _, l := range f.Lines {
		if l.Count > 0 {
			n++
		}
	}
	return n
}

// Missed returns the lines that did not run, as ranges such as "3-5, 9".
func (f FileCoverage) Missed() string {
	var parts []string
	for i := 0; i < len(f.Lines); i++ {
		if f.Lines[i].Count > 0 {
			continue
		}
		first := i
		for i+1 < len(f.Lines) && f.Lines[i+1].Count == 0 {
			i++
		}
		part := fmt.Sprint(f.Lines[first].Line)
		if i > first {
			part += fmt.Sprintf("-%d", f.Lines[i].Line)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

// Files returns what was counted, by name.
func (c *Coverage) Files() []FileCoverage {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []FileCoverage
	for _, name := range slices.Sorted(maps.Keys(c.files)) {
		f := c.files[name]
		counts := map[int]uint64{}
		for i, line := range f.lines {
			n := f.counts[i].Load()
			if least, ok := counts[line]; ok {
				n = min(n, least)
			}
			counts[line] = n
		}
		file := FileCoverage{Name: name}
		for _, line := range slices.Sorted(maps.Keys(counts)) {
			file.Lines = append(file.Lines, LineCoverage{line, counts[line]})
		}
		all = append(all, file)
	}
	return all
}

// WriteLCOV writes files in the format of LCOV's tracefiles, which code hosts, editors
// and genhtml read.
func WriteLCOV(w io.Writer, files []FileCoverage) error {
	var b strings.Builder
	for _, f := range files {
		if len(f.Lines) == 0 {
			continue
		}
		fmt.Fprintf(&b, "TN:\nSF:%s\n", f.Name)
		for _, l := range f.Lines {
			fmt.Fprintf(&b, "DA:%d,%d\n", l.Line, l.Count)
		}
		fmt.Fprintf(&b, "LF:%d\nLH:%d\nend_of_record\n", len(f.Lines), f.Covered())
	}
	_, err := io.WriteString(w, b.String())
	return err
}
