package builtins

import (
	"fmt"
	"strings"

	"bake.build/bake/runtime/op"
	"go.starlark.net/starlark"
)

func shellLocalBuiltin() Builtin {
	return Declare("shell_local", `Runs a command or a script on this host, with the machine reachable over SSH, and returns the layer that it leaves.

It is for tools that configure machines from outside, such as ansible-playbook. The file $BAKE_SSH_CONFIG is a configuration of OpenSSH with the host "machine" ("ssh -F $BAKE_SSH_CONFIG machine"); $BAKE_SSH_HOST, $BAKE_SSH_PORT and $BAKE_SSH_KEY are what other clients need. They log in as root, or as any user that the machine has. The server is bake's own and listens on the loopback while the step runs: the machine needs no SSH server, and commands run in it as those of shell do. sftp and scp need the machine's sftp-server; ports are not forwarded.

The working directory is a new one that holds files. Of bake's environment the program gets PATH, HOME, the locale, the SSH agent and the proxies. The key covers the command, its options and files, and not the versions of this host's programs.

Such a step can do what you can, so it runs only with --allow-local. What can run inside of the machine is better off there.`,
		"layer", shellLocal)
}

type shellLocalArgs struct {
	Layer *Layer `bake:"layer,required" help:"The layer to change."`
	scriptArgs
	Files    Paths    `bake:"files,keyword" help:"What the working directory holds, as src of copy: of a directory its content, a file under its own name."`
	Exclude  []string `bake:"exclude,keyword" help:"Patterns of files to exclude, relative to a directory in files."`
	Programs []string `bake:"programs,keyword" help:"Programs of this host that the command needs, such as \"ansible-playbook\". A build that lacks one fails before it begins. They are no part of the key."`
	StepOptions
}

func shellLocal(c *Call, a *shellLocalArgs) (starlark.Value, error) {
	cmd, title, err := a.data(c)
	if err != nil {
		return nil, err
	}
	if err := checkPatterns(a.Exclude); err != nil {
		return nil, fmt.Errorf("exclude: %w", err)
	}
	o := &op.Local{Command: cmd, Programs: a.Programs}
	if err := o.Check(); err != nil {
		return nil, err
	}
	found, err := c.find(a.Files)
	if err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	if o.Files, err = c.from(found, a.Exclude, ""); err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	for _, name := range a.Programs {
		if strings.TrimSpace(name) == "" || strings.HasPrefix(name, "-") {
			return nil, fmt.Errorf("programs: %q is not the name of a program", name)
		}
	}
	return c.Step(a.Layer, o, a.StepOptions, "shell_local: "+title), nil
}
