package builtins

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"bake.build/bake/runtime/op"
	"go.starlark.net/starlark"
)

func writeBuiltin() Builtin {
	return Declare("write", `Writes one file with the given content, replacing what was there.

Directories above it are made when they are missing. A directory is never replaced: that is an error.`, "layer", write)
}

type writeArgs struct {
	Layer   *Layer `bake:"layer,required" help:"The layer to change."`
	Path    string `bake:"path,required" help:"The file's absolute path in the machine."`
	Content string `bake:"content,required" help:"Content of the file."`
	Owner   string `bake:"owner,keyword,numbers" help:"Owner: \"user\", \"user:group\" or numbers." default:"root:root"`
	Mode    Mode   `bake:"mode,keyword" help:"Its permissions." default:"0644"`
	StepOptions
}

func write(c *Call, a *writeArgs) (starlark.Value, error) {
	dst, isDir, err := machinePath(a.Path)
	if err != nil {
		return nil, fmt.Errorf("path: %w", err)
	}
	if isDir {
		return nil, fmt.Errorf("path: %q is a directory, want a file", a.Path)
	}
	owner, err := checkOwner(a.Owner)
	if err != nil {
		return nil, err
	}
	w := &op.Write{Path: dst, Content: a.Content, Owner: owner, Mode: 0o644}
	if a.Mode != 0 {
		w.Mode = uint32(a.Mode)
	}
	if err := op.CheckProgram(dst, w.Mode, []byte(a.Content)); err != nil {
		return nil, fmt.Errorf("content: %w", err)
	}
	return c.Step(a.Layer, w, a.StepOptions, "write: "+dst), nil
}

// machinePath checks an absolute path of the machine that is written to, and
// returns it clean. It is a directory when it ends in "/".
func machinePath(s string) (clean string, isDir bool, err error) {
	switch {
	case s == "":
		return "", false, errors.New("the path is empty")
	case strings.ContainsRune(s, 0):
		return "", false, fmt.Errorf("%q is not a path", s)
	case !path.IsAbs(s):
		return "", false, fmt.Errorf("%q is not absolute", s)
	case slices.Contains(strings.Split(s, "/"), ".."):
		return "", false, fmt.Errorf(`%q leads out through ".."`, s)
	}
	clean = path.Clean(s)
	return clean, strings.HasSuffix(s, "/") || strings.HasSuffix(s, "/."), nil
}

// checkOwner returns the owner's one spelling: root is "".
func checkOwner(s string) (string, error) {
	switch s {
	case "", "root", "root:root", "0", "0:0":
		return "", nil
	}
	if err := op.CheckOwner(s); err != nil {
		return "", fmt.Errorf("owner: %w", err)
	}
	return s, nil
}
