package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"bake.build/bake/builtins"
	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/plan"
)

func (a *app) listCommand() *cobra.Command {
	f := &definitionFlags{}
	cmd := &cobra.Command{
		Use:     "ls [DEFINITION]",
		Aliases: []string{"list"},
		Short:   "list the parameters, targets, platforms and secrets of a definition",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, rest := a.splitArgs(args)
			if len(rest) > 0 {
				return coded(exitUsage, fmt.Errorf("%s: no such definition", rest[0]))
			}
			return a.list(cmd.Context(), file, f)
		},
	}
	f.add(cmd.Flags())
	return cmd
}

func (a *app) list(ctx context.Context, file string, f *definitionFlags) error {
	d, err := build.Look(ctx, a.config(f), file)
	if err != nil {
		return err
	}
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	section := func(title string, rows []string) {
		if len(rows) > 0 {
			fmt.Fprintf(w, "%s:\n  %s\n", title, strings.Join(rows, "\n  "))
		}
	}
	section("parameters", paramRows(d.Params))
	section("artifacts", targetRows(d.Artifacts))
	section("tests", targetRows(d.Tests))
	section("platforms", platformRows(d.Plan))
	section("secrets", secretRows(d.Secrets))
	if err := w.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(text.String()) {
		if _, err := fmt.Fprintln(a.stdout, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

func paramRows(params []*builtins.Param) []string {
	var rows []string
	for _, p := range params {
		value := "= " + p.Text()
		if p.From != "" {
			value += " (" + p.From + ")"
		}
		kind := p.Type
		if kind == "list" || kind == "dict" {
			kind = p.Schema()
		}
		if len(p.Choices) > 0 {
			kind = strings.Join(p.Choices, "|")
		}
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s", p.Name, kind, value, p.Help))
	}
	return rows
}

func targetRows(targets []builtins.Target) []string {
	var rows []string
	for _, t := range targets {
		what := ""
		switch op := t.Node.Op.(type) {
		case *export.Op:
			what = strings.Join(op.Formats, ", ")
		case *export.Output:
			what = op.Path
		case *export.Publish:
			what = "an image of " + t.Node.Platform.Name
		}
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s", t.Name, what, place(t.Node.Pos)))
	}
	return rows
}

// platformRows lists the platform values that nodes use, in the order of their
// first use.
func platformRows(p *plan.Plan) []string {
	var rows []string
	seen := map[string]bool{}
	for _, n := range p.Nodes {
		if n.Platform == nil || seen[n.Platform.ID()] {
			continue
		}
		seen[n.Platform.ID()] = true
		rows = append(rows, fmt.Sprintf("%s\t\t%s", builtins.ShowPlatform(n.Platform), place(n.Platform.Pos)))
	}
	return rows
}

func secretRows(secrets []builtins.SecretUse) []string {
	var rows []string
	for _, u := range secrets {
		from := u.Env
		if from == "" {
			from = build.SecretVariable(u.Name)
		}
		rows = append(rows, fmt.Sprintf("%s\tfrom %s, or --secret %s=…\t%s", u.Name, from, u.Name, place(u.Pos)))
	}
	slices.Sort(rows)
	return rows
}

// place returns file:line of a call stack, or "".
func place(stack []plan.Pos) string {
	if len(stack) == 0 {
		return ""
	}
	p := plan.Place(stack)
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}
