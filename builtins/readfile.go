package builtins

import "go.starlark.net/starlark"

// maxText is how many bytes read_file returns at most.
const maxText = 16 << 20

func readFileBuiltin() Builtin {
	return Declare("read_file", `Returns the content of a text file of the project.`, "string",
		func(c *Call, a *readFileArgs) (starlark.Value, error) {
			text, err := c.readText(a.Path, maxText)
			return starlark.String(text), err
		})
}

type readFileArgs struct {
	Path string `bake:"path,required" help:"The file, relative to the file that calls, or from the project's root (\"//motd\")."`
}
