package builtins

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"bake.build/bake/internal/regular"
	"bake.build/bake/runtime/op"
	"github.com/bmatcuk/doublestar/v4"
	"go.starlark.net/starlark"
)

func copyBuiltin() Builtin {
	return Declare("copy", `Copies files of the project to the machine.

src is a file, a directory, a pattern, or a list of these. Of a directory the content is copied, not the directory itself, with or without a "/" at its end. A file lands at dst, or in dst when dst ends in "/"; for a pattern or a list dst ends in "/". A module in it, a directory with a bake.mod, is left out. Links are copied as links. Neither a file nor a link takes the place of a directory that the machine has: that is an error. What is copied belongs to root unless owner says otherwise; the project's owners and times never reach a layer.`,
		"layer", copyFiles)
}

type copyArgs struct {
	Layer   *Layer   `bake:"layer,required" help:"The layer to change."`
	Src     Paths    `bake:"src,required" help:"What to copy: paths relative to the file that calls, or from the project's root (\"//site\"), which may hold *, **, ? and [a-z]."`
	Dst     string   `bake:"dst,required" help:"Destination, an absolute path in the machine; a directory when it ends in \"/\"."`
	Owner   string   `bake:"owner,keyword,numbers" help:"Owner: \"user\", \"user:group\" or numbers." default:"root:root"`
	Mode    Mode     `bake:"mode,keyword" help:"Permissions of the files; directories get execute permission where they have read permission." default:"those of the project"`
	Exclude []string `bake:"exclude,keyword" help:"Patterns of files to exclude, relative to the copied directory, such as \"**/*.md\"."`
	StepOptions
}

func copyFiles(c *Call, a *copyArgs) (starlark.Value, error) {
	dst, isDir, err := machinePath(a.Dst)
	if err != nil {
		return nil, fmt.Errorf("dst: %w", err)
	}
	owner, err := checkOwner(a.Owner)
	if err != nil {
		return nil, err
	}
	if err := checkPatterns(a.Exclude); err != nil {
		return nil, fmt.Errorf("exclude: %w", err)
	}
	found, err := c.find(a.Src)
	if err != nil {
		return nil, fmt.Errorf("src: %w", err)
	}
	o := &op.Copy{Dst: dst, Owner: owner, Mode: uint32(a.Mode)}
	if o.From, err = c.from(found, a.Exclude, dst); err != nil {
		return nil, fmt.Errorf("src: %w", err)
	}
	switch several := len(a.Src) > 1 || found[0].glob; {
	case several && !isDir:
		return nil, fmt.Errorf("dst: %q does not end in \"/\", and what is copied may be several files", a.Dst)
	case !several && !isDir && !found[0].dir:
		o.Dst, o.From[0].Name = path.Dir(dst), path.Base(dst)
		if dst == "/" {
			return nil, errors.New(`dst: "/" is a directory`)
		}
	}
	return c.Step(a.Layer, o, a.StepOptions, "copy: "+strings.Join(a.Src, " ")+" → "+a.Dst), nil
}

// A found is one thing that is copied.
type found struct {
	name, abs string
	dir, glob bool
}

// find returns what names stand for, each pattern's matches sorted.
func (c *Call) find(names []string) ([]found, error) {
	var all []found
	for _, name := range names {
		abs, err := c.Place().Path(name)
		if err != nil && strings.ContainsAny(name, "*?[{") {
			matches, err := c.glob(name, nil)
			if err != nil {
				return nil, err
			}
			for _, m := range matches {
				all = append(all, found{name: m.name, abs: m.abs, glob: true})
			}
			if len(matches) == 0 {
				return nil, fmt.Errorf("%q matches no file", name)
			}
			continue
		} else if err != nil {
			return nil, err
		}
		info, err := os.Stat(abs)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			if err := regular.Check(info); err != nil {
				return nil, fmt.Errorf("%q: %w", name, err)
			}
		}
		if !info.IsDir() && strings.HasSuffix(name, "/") {
			return nil, fmt.Errorf("%q is a file, not a directory", name)
		}
		all = append(all, found{name: name, abs: abs, dir: info.IsDir()})
	}
	return all, nil
}

// from returns what is copied to dst: of a directory its content, a file under its own
// name.
func (c *Call) from(all []found, exclude []string, dst string) ([]op.CopyFrom, error) {
	landed := map[string]string{}
	var from []op.CopyFrom
	for _, f := range all {
		if f.dir {
			from = append(from, op.CopyFrom{Input: c.input(f.abs, exclude)})
			continue
		}
		name := filepath.Base(f.abs)
		if other, twice := landed[name]; twice {
			return nil, fmt.Errorf("%q and %q both land at %s", other, f.name, path.Join(dst, name))
		}
		landed[name] = f.name
		from = append(from, op.CopyFrom{Name: name, Input: c.input(f.abs, nil)})
	}
	return from, nil
}

func checkPatterns(patterns []string) error {
	for _, p := range patterns {
		if !doublestar.ValidatePattern(p) {
			return fmt.Errorf("%q is not a pattern", p)
		}
		if n := alternatives(p); n > maxAlternatives {
			return fmt.Errorf("%q stands for more than %d patterns", p, maxAlternatives)
		}
	}
	return nil
}

// maxAlternatives is how many patterns one with "{a,b}" may stand for: each is
// looked for by itself, and every pair of braces doubles their number.
const maxAlternatives = 1000

// alternatives returns how many patterns without braces p stands for, or some
// number above maxAlternatives.
func alternatives(p string) int {
	// One entry for each open brace: of what stands before the last comma in it,
	// and of what stands behind that.
	type group struct{ sum, product int }
	open := []group{{product: 1}}
	for i := 0; i < len(p); i++ {
		g := &open[len(open)-1]
		switch p[i] {
		case '\\':
			i++
		case '[': // a class ends at the first "]"
			if end := strings.IndexByte(p[i:], ']'); end > 0 {
				i += end
			}
		case '{':
			open = append(open, group{product: 1})
		case ',':
			g.sum, g.product = g.sum+g.product, 1
		case '}':
			if len(open) == 1 {
				continue
			}
			open = open[:len(open)-1]
			open[len(open)-1].product *= g.sum + g.product
		}
		if g = &open[len(open)-1]; g.product > maxAlternatives || g.sum > maxAlternatives {
			return maxAlternatives + 1
		}
	}
	return open[0].product
}
