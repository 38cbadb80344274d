package builtins

import (
	"bake.build/bake/starlark/eval"
	"go.starlark.net/starlark"
)

func visibilityBuiltin() Builtin {
	return Declare("visibility", `Says which files may load the file that it stands in.

It is called once, at the top level. A file without it may be loaded by every file of its module and of other modules. Names that begin with "_" are never loaded from another file.`,
		"None", func(c *Call, a *visibilityArgs) (starlark.Value, error) {
			return starlark.None, eval.SetVisibility(c.thread, a.To)
		})
}

type visibilityArgs struct {
	To Paths `bake:"to,required" help:"\"public\" for everyone, \"private\" for the files beside it, or directories of its module: \"//lib\" for one, \"//lib/...\" for it and what is below, \"-//lib/old\" for all but it."`
}
