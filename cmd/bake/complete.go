package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"bake.build/bake/builtins"
	"bake.build/bake/internal/spell"
	"bake.build/bake/runtime/build"
)

func (a *app) completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "print a completion script for a shell",
		Long: `Prints a completion script for bash, zsh, fish or powershell. For bash, with the
package bash-completion: bake completion bash > /etc/bash_completion.d/bake`,
		Args:      cobra.ExactArgs(1),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.stdout, true)
			case "zsh":
				return root.GenZshCompletion(a.stdout)
			case "fish":
				return root.GenFishCompletion(a.stdout, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(a.stdout)
			}
			return coded(exitUsage, fmt.Errorf("no completion for %q%s", args[0], spell.Hint(args[0], "shells", shells)))
		},
	}
}

// completer returns a completion function that offers definitions and, of the
// one that is named, what names lists.
func (a *app) completer(names func(*builtins.Definition) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		file, rest := a.splitArgs(args)
		c := a.config(nil)
		c.Printed = nil
		var offers []string
		if def, err := build.Evaluate(cmd.Context(), c, file); err == nil {
			for _, name := range names(def) {
				if strings.HasPrefix(name, toComplete) && !slices.Contains(rest, name) {
					offers = append(offers, name)
				}
			}
		}
		if len(args) > 0 {
			return offers, cobra.ShellCompDirectiveNoFileComp
		}
		return offers, cobra.ShellCompDirectiveDefault
	}
}

func allTargets(d *builtins.Definition) []string {
	return build.TargetNames(build.Targets(d))
}

func testTargets(d *builtins.Definition) []string { return build.TargetNames(d.Tests) }
