package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bake.build/bake/internal/spell"
	"bake.build/bake/runtime/build"
)

// otherCommands say what here does the work of a command of another tool.
var otherCommands = map[string]string{
	"validate": "check", "preview": "plan", "format": "fmt",
	"inspect": "ls", "targets": "ls", "params": "ls",
	"make": "build", "apply": "build", "bake": "build", "export": "build",
	"console": "shell", "ssh": "shell", "exec": "shell", "enter": "shell",
	"boot": "run", "start": "run", "up": "run", "launch": "run",
	"new": "init", "create": "init",
	"clean": "cache prune", "prune": "cache prune", "rm": "cache prune", "verify": "cache verify", "du": "cache du",
	"why": "explain", "history": "explain", "log": "explain",
	"lock": "update", "upgrade": "update", "pin": "update", "download": "pull",
	"reference": "doc", "docs": "doc", "man": "doc", "complete": "completion",
}

func noCommand(parent *cobra.Command, name string) error {
	var names []string
	for _, c := range parent.Commands() {
		names = append(names, c.Name())
	}
	if other := otherCommands[name]; other != "" && !parent.HasParent() && spell.Nearest(name, names) == "" {
		return build.WithHint(fmt.Errorf("%s: no command %q", parent.CommandPath(), name), "bake "+other+" does that; bake help lists the commands")
	}
	return fmt.Errorf("%s: no command %q%s", parent.CommandPath(), name, spell.Hint(name, "commands", names))
}

// helpCommand returns the command help, which takes the name of a command only.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "show the help of a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			found := cmd.Root()
			for _, name := range args {
				next, _, err := found.Find([]string{name})
				if err != nil || next == found {
					return coded(exitUsage, noCommand(found, name))
				}
				found = next
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}

// otherFlags say what is written here for a flag of another tool.
var otherFlags = map[string]string{
	"var":              "a parameter is set with -p name=value",
	"set":              "a parameter is set with -p name=value",
	"var-file":         "a file of parameters is given with --params-file",
	"only":             "targets are arguments, with globs: bake build images.star 'web*'",
	"target":           "targets are arguments, with globs: bake build images.star 'web*'",
	"except":           "targets are arguments, with globs: bake build images.star 'web*'",
	"force":            "a build replaces its artifacts by itself; a step with always = True runs each time",
	"no-cache":         "a step with always = True runs each time; bake cache prune removes layers",
	"debug":            "--on-error shell opens a shell where a step failed; bake shell opens one on any layer",
	"machine-readable": "--progress json prints one event a line",
	"json":             "--progress json prints one event a line",
	"timestamp-ui":     "--progress plain has the time in each line",
	"verbose":          "--progress plain prints all that steps print",
	"quiet":            "progress goes to the standard error, which 2>/dev/null drops",
	"color":            "NO_COLOR=1 in the environment turns colours off",
	"no-color":         "NO_COLOR=1 in the environment turns colours off",
	"parallel-builds":  "-j says how many machines run at once",
	"dry-run":          "bake plan shows what a build would do",
	"version":          "bake version prints it",
	"file":             "the definition is the first argument",
	"output":           "-o, or --out, names the directory of artifacts",
}

// flagError makes a wrong flag of cmd a usage error that says what is right.
func flagError(cmd *cobra.Command, err error) error {
	hint := cmd.CommandPath() + " --help lists its flags"
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) && invalid.GetFlag().Value.Type() == "int" {
		err = fmt.Errorf("--%s %s: want a whole number", invalid.GetFlag().Name, invalid.GetValue())
	}
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return coded(exitUsage, build.WithHint(err, hint))
	}
	name := unknown.GetSpecifiedName()
	if short := unknown.GetSpecifiedShortnames(); len(short) > 1 { // -var x=1, as other tools write flags
		name, _, _ = strings.Cut(short, "=")
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	if near := spell.Nearest(name, known); near != "" {
		err = fmt.Errorf("%w (did you mean --%s?)", err, near)
	} else if other := otherFlags[name]; other != "" {
		hint = other
	}
	return coded(exitUsage, build.WithHint(err, hint))
}
