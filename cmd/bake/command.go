package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bake.build/bake/runtime/build"
)

// command returns the root of the command line.
func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "bake",
		Short: "build machine images from Starlark definitions",
		Long: `bake builds machine images from Starlark definitions. Every provisioning step
is a cached layer: what did not change is never run again.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(helpCommand())
	root.AddCommand(
		a.buildCommand(),
		a.planCommand(),
		a.listCommand(),
		a.explainCommand(),
		a.testCommand(),
		a.shellCommand(),
		a.runCommand(),
		a.diffCommand(),
		a.cacheCommand(),
		a.gcCommand(),
		a.pullCommand(),
		a.updateCommand(),
		a.modCommand(),
		a.checkCommand(),
		a.fmtCommand(),
		a.lintCommand(),
		a.doctorCommand(),
		a.initCommand(),
		a.docCommand(),
		a.versionCommand(),
		a.completionCommand(),
	)
	root.CompletionOptions.DisableDefaultCmd = true
	usageErrors(root)
	return root
}

// usageErrors makes wrong arguments of c and of its subcommands usage errors.
// A command that only groups others prints its help when it is given none.
func usageErrors(c *cobra.Command) {
	check := c.Args
	c.Args = func(cmd *cobra.Command, args []string) error {
		switch {
		case cmd.HasSubCommands() && len(args) > 0:
			return coded(exitUsage, noCommand(cmd, args[0]))
		case check != nil && check(cmd, args) != nil:
			err := fmt.Errorf("%s: wrong number of arguments: %d", cmd.CommandPath(), len(args))
			return coded(exitUsage, build.WithHint(err, "usage: "+cmd.UseLine()))
		}
		return nil
	}
	if c.HasSubCommands() {
		c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	for _, sub := range c.Commands() {
		usageErrors(sub)
	}
}

// A definitionFlags holds the flags of every verb that reads a definition.
type definitionFlags struct {
	params     []string
	paramsFile string
	secrets    []string
	locked     bool
	offline    bool
	out        string // of verbs that write or look for artifacts; "" elsewhere
}

func (f *definitionFlags) add(flags *pflag.FlagSet) {
	flags.StringArrayVarP(&f.params, "param", "p", nil, "set a parameter, as `name=value`, or one field of a dict, as name.field=value")
	flags.StringVar(&f.paramsFile, "params-file", "", "read parameters from a `file`: JSON, YAML or TOML by the end of its name, or lines of name=value")
	flags.StringArrayVar(&f.secrets, "secret", nil, "source of a secret, as `name=env:VARIABLE` or name=file:PATH")
	flags.BoolVar(&f.locked, "locked", false, "refuse to change bake.lock")
	flags.BoolVar(&f.offline, "offline", false, offlineHelp+"; the same for pins and downloads of origins. Steps have their network")
}

// splitArgs takes the definition's path off the arguments: the first one, if
// it is a file or looks like one.
func (a *app) splitArgs(args []string) (definition string, rest []string) {
	if len(args) > 0 && (strings.HasSuffix(args[0], ".star") || strings.ContainsAny(args[0], "/\\") || a.isFile(args[0])) {
		return args[0], args[1:]
	}
	return defaultDefinition, args
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.stdout, "bake", version)
			return err
		},
	}
}
