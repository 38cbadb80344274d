package builtins

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"bake.build/bake/internal/regular"
	"bake.build/bake/starlark/eval"
	"github.com/bmatcuk/doublestar/v4"
	"go.starlark.net/starlark"
)

func globBuiltin() Builtin {
	return Declare("glob", `Lists the files of the project that match a pattern, sorted.

The pattern is relative to the file that calls, or to the project's root when it begins with "//", and so are the paths that are returned. "*" stands for any part of a name, "**" for any number of directories. Files whose names begin with "." match only where the pattern has the ".". Links to directories are not followed, and files of a module below, one with a bake.mod of its own, do not match.`,
		"list of strings", func(c *Call, a *globArgs) (starlark.Value, error) {
			matches, err := c.glob(a.Pattern, a.Exclude)
			if err != nil {
				return nil, err
			}
			list := make([]starlark.Value, len(matches))
			for i, m := range matches {
				list[i] = starlark.String(m.name)
			}
			return starlark.NewList(list), nil
		})
}

type globArgs struct {
	Pattern string   `bake:"pattern,required" help:"The pattern, such as \"conf/*.conf\" or \"//site/**\"."`
	Exclude []string `bake:"exclude,keyword" help:"Patterns of files to exclude, relative to the same place."`
}

// A match is one file that a pattern found.
type match struct {
	name string // as a definition names it
	abs  string
}

// glob returns the files that match pattern and none of exclude, sorted.
func (c *Call) glob(pattern string, exclude []string) ([]match, error) {
	if err := checkPatterns(append([]string{pattern}, exclude...)); err != nil {
		return nil, err
	}
	place, rest := c.Place(), pattern
	if cut, ok := strings.CutPrefix(pattern, "//"); ok {
		place, rest = place.Root(), cut
	}
	base, rest := doublestar.SplitPattern(path.Clean(rest))
	abs, err := place.Path(filepath.ToSlash(base))
	if errors.Is(err, eval.ErrOutside) {
		return nil, err
	} else if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	opts := []doublestar.GlobOption{doublestar.WithFilesOnly(), doublestar.WithNoFollow(), doublestar.WithFailOnIOErrors()}
	if !strings.HasPrefix(rest, ".") && !strings.Contains(rest, "/.") {
		opts = append(opts, doublestar.WithNoHidden())
	}
	names, err := doublestar.Glob(&endingFS{os.DirFS(abs), eval.Over(c.thread)}, rest, opts...)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", pattern, err)
	}
	sort.Strings(names)
	prefix := ""
	if strings.HasPrefix(pattern, "//") {
		prefix = "//"
	}
	var matches []match
	for _, name := range names {
		rel := path.Join(base, name)
		if excluded(exclude, rel) || excluded(exclude, prefix+rel) {
			continue
		}
		real, err := place.In(abs).Path(name)
		if errors.Is(err, eval.ErrNested) {
			continue
		} else if err != nil {
			return nil, err
		}
		info, err := os.Stat(real)
		if err == nil {
			err = regular.Check(info)
		}
		if err != nil {
			return nil, fmt.Errorf("%q: %w", prefix+rel, err)
		}
		c.Project.Record(real)
		matches = append(matches, match{name: prefix + rel, abs: real})
	}
	return matches, nil
}

// An endingFS is a tree that fails once the evaluation is over, so that a search
// in a very large one ends then, too.
type endingFS struct {
	fs.FS
	over <-chan struct{}
}

var errOver = errors.New("the evaluation is over")

func (e *endingFS) alive() error {
	select {
	case <-e.over:
		return errOver
	default:
		return nil
	}
}

// Open implements fs.FS.
func (e *endingFS) Open(name string) (fs.File, error) {
	if err := e.alive(); err != nil {
		return nil, err
	}
	return e.FS.Open(name)
}

// ReadDir implements fs.ReadDirFS.
func (e *endingFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := e.alive(); err != nil {
		return nil, err
	}
	return fs.ReadDir(e.FS, name)
}

// Stat implements fs.StatFS.
func (e *endingFS) Stat(name string) (fs.FileInfo, error) {
	if err := e.alive(); err != nil {
		return nil, err
	}
	return fs.Stat(e.FS, name)
}

func excluded(patterns []string, name string) bool {
	for _, p := range patterns {
		if doublestar.MatchUnvalidated(p, name) {
			return true
		}
	}
	return false
}
