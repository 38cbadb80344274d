package main

import (
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"bake.build/bake/builtins"
)

// completer returns a completion function that offers definitions and, of the
// one that is named, what names lists.
func (a *app) completer(names func(*builtins.Definition) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		file, rest := a.splitArgs(args)
		quiet := *a
		quiet.stderr = io.Discard
		var offers []string
		if _, def, err := quiet.evaluate(cmd.Context(), file, &definitionFlags{}); err == nil {
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
	return targetNames(slices.Concat(d.Artifacts, d.Tests))
}

func testTargets(d *builtins.Definition) []string { return targetNames(d.Tests) }
