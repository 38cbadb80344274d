package builtins

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"bake.build/bake/internal/lazyregexp"
	"bake.build/bake/internal/regular"
	"bake.build/bake/runtime/op"
)

// maxScript is how many bytes a script may have.
const maxScript = 1 << 20

// commandArgs are the options of what runs a script in a machine: shell and test.
type commandArgs struct {
	scriptArgs
	User    string   `bake:"user,keyword,numbers" help:"Who runs it: \"user\", \"user:group\" or numbers." default:"root"`
	Workdir string   `bake:"workdir,keyword" help:"Working directory, an absolute path." default:"/"`
	Caches  []string `bake:"caches,keyword" help:"Directories that are kept between builds and are no part of the layer, such as /var/cache/apt. Steps of this project that begin on the same pin of an origin share them and have to trust each other; one waits for the other, outside of its own timeout."`
	Network bool     `bake:"network,keyword" help:"Whether the step has network access." default:"True"`
}

// data returns the op's data and the first line that names it.
func (a *commandArgs) data(c *Call) (op.Command, string, error) {
	cmd, title, err := a.scriptArgs.data(c)
	if err != nil {
		return cmd, "", err
	}
	if a.User != "" {
		if err := op.CheckOwner(a.User); err != nil {
			return op.Command{}, "", fmt.Errorf("user: %w", err)
		}
	}
	cmd.User, cmd.Workdir, cmd.Caches, cmd.NoNetwork = a.User, a.Workdir, a.Caches, !a.Network
	return cmd, title, cmd.Check()
}

// scriptArgs are the options of whatever runs a script.
type scriptArgs struct {
	Command     Lines             `bake:"command" help:"The shell commands: a string, or a list of lines. The common indentation of a multi-line string is removed."`
	Script      string            `bake:"script,keyword" help:"A script file of the project to run instead of a command. Lines that all end in CR LF are read as ending in LF, here and in a command."`
	Args        []string          `bake:"args,keyword" help:"Arguments of the script: \"$1\" and so on."`
	Env         map[string]string `bake:"env,keyword,numbers" help:"Environment variables."`
	Secrets     SecretBindings    `bake:"secrets,keyword" help:"Secrets by the name of a variable, or by the path of a file in memory, below /run. In a list, secret(\"my-token\") is the variable MY_TOKEN."`
	Interpreter Words             `bake:"interpreter,keyword" help:"The interpreter." default:"its \"#!\" line, or /bin/sh -e"`
	ExitCodes   ExitCodes         `bake:"valid_exit_codes,keyword" help:"Exit codes that count as success." default:"[0]"`
}

// data returns the op's data and the first line that names it.
func (a *scriptArgs) data(c *Call) (op.Command, string, error) {
	text, title := string(a.Command), firstCommand(string(a.Command))
	switch given := c.Given("command"); {
	case given && a.Script != "":
		return op.Command{}, "", errors.New("command and script are both given, want one")
	case !given && a.Script == "":
		return op.Command{}, "", errors.New(`nothing to run: want a command or script="path"`)
	case a.Script != "":
		var err error
		if text, err = c.readText(a.Script, maxScript); err != nil {
			return op.Command{}, "", fmt.Errorf("script: %w", err)
		}
		title = strings.Join(append([]string{a.Script}, a.Args...), " ")
	case len(text) > maxScript:
		return op.Command{}, "", fmt.Errorf("command: %d bytes are more than %d: copy a file and run that", len(text), maxScript)
	}
	text, err := op.UnixScript(text, a.Interpreter)
	if err != nil {
		return op.Command{}, "", err
	}
	for name := range a.Env {
		if !envName.MatchString(name) {
			return op.Command{}, "", fmt.Errorf("env: %q is not the name of a variable", name)
		}
	}
	cmd := op.Command{Script: text, Args: a.Args, Interpreter: a.Interpreter, Env: a.Env, ExitCodes: a.ExitCodes}
	for _, b := range a.Secrets {
		if _, twice := a.Env[b.Env]; twice {
			return op.Command{}, "", fmt.Errorf("%q is given in env and in secrets", b.Env)
		}
		cmd.Secrets = append(cmd.Secrets, b.Secret)
		if err := c.useSecret(b.value, c.Pos()); err != nil {
			return op.Command{}, "", err
		}
	}
	return cmd, title, nil
}

var envName = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_]*$`)

// readText returns the content of a text file of the project, at most limit
// bytes.
func (c *Call) readText(name string, limit int64) (string, error) {
	abs, err := c.Place().Path(name)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(abs)
	if err == nil {
		err = regular.Check(info)
	}
	if err != nil {
		return "", fmt.Errorf("%q: %w", name, err)
	}
	c.Project.Record(abs)
	text, err := regular.Read(abs, limit)
	if err != nil {
		return "", err
	}
	if !utf8.Valid(text) {
		return "", fmt.Errorf("%q is not UTF-8 text", filepath.Base(name))
	}
	return string(text), nil
}
