package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/plan"
)

func (a *app) explainCommand() *cobra.Command {
	f := &definitionFlags{}
	cmd := &cobra.Command{
		Use:   "explain [DEFINITION] NODE",
		Short: "explain which input of a step or an artifact changed since the last build",
		Long: `Says which input of a node changed since the last build of its definition. A
node is an artifact or a test by its name, a step by its name, its place
(images.star:12) or the beginning of its key. A pattern such as "web*" names all
that it matches.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.explain(cmd.Context(), args, f)
		},
	}
	cmd.ValidArgsFunction = a.completer(build.Addressable)
	f.add(cmd.Flags())
	return cmd
}

func (a *app) explain(ctx context.Context, args []string, f *definitionFlags) error {
	file, address := a.splitAddress(args)
	return a.withSession(ctx, file, f, func(s *session) error {
		nodes, err := build.FindAll(s.Definition, address)
		if err != nil {
			return err
		}
		past, err := s.Past()
		if err != nil {
			return err
		}
		for _, n := range nodes {
			s.explainNode(past, n)
		}
		return nil
	})
}

// splitAddress takes the definition off the arguments DEFINITION NODE. Where it is
// left out and there is none here, a place in another one names that too.
func (a *app) splitAddress(args []string) (definition, address string) {
	if len(args) == 2 {
		return args[0], args[1]
	}
	if file, _, ok := strings.Cut(args[0], ".star:"); ok && !a.isFile(defaultDefinition) && a.isFile(file+".star") {
		return file + ".star", args[0]
	}
	return defaultDefinition, args[0]
}

func (s *session) explainNode(past *build.Past, n *plan.Node) {
	a := s.app
	fmt.Fprintf(a.stdout, "%s  %s\n", n.Key.Short(), n.Name)
	changes, known := past.Changes(n)
	switch {
	case !known:
		fmt.Fprintln(a.stdout, "  has not been built before")
	case len(changes) == 0:
		fmt.Fprintln(a.stdout, "  nothing changed since the last build")
	}
	for _, c := range changes {
		writeChange(a.stdout, c, a.rel)
	}
}

// writeChange prints a change for people; rel writes a path as they know it.
func writeChange(w io.Writer, c build.Change, rel func(string) string) {
	place := ""
	if len(c.Node.Pos) > 0 {
		place = plan.Place(c.Node.Pos).String() + ": "
	}
	if c.Was == nil || c.Was.Kind != c.Node.Op.Kind() {
		fmt.Fprintf(w, "  %s%s\n    is new", place, c.Node.Name)
		if c.Was != nil {
			fmt.Fprintf(w, " (was: %s)", c.Was.Name)
		}
		fmt.Fprintln(w)
		return
	}
	fmt.Fprintf(w, "  %s%s\n", place, c.Node.Name)
	for _, was := range c.Gone {
		fmt.Fprintf(w, "    removed before it: %s\n", was.Name)
	}
	for _, f := range c.Fields {
		if path := build.InputOf(c.Node, f.Now); path != "" {
			fmt.Fprintf(w, "    the content of %s changed\n", rel(path))
			continue
		}
		writeField(w, f)
	}
}

// writeField prints the lines that a field lost and got.
func writeField(w io.Writer, f build.FieldChange) {
	if !strings.Contains(f.Old+f.Now, "\n") {
		fmt.Fprintf(w, "    %s: %s → %s\n", f.Option(), quoted(f.Old), quoted(f.Now))
		return
	}
	fmt.Fprintf(w, "    %s:\n", f.Option())
	old, now := strings.Split(f.Old, "\n"), strings.Split(f.Now, "\n")
	for _, line := range old {
		if !slices.Contains(now, line) {
			fmt.Fprintf(w, "      - %s\n", line)
		}
	}
	for _, line := range now {
		if !slices.Contains(old, line) {
			fmt.Fprintf(w, "      + %s\n", line)
		}
	}
}

func quoted(s string) string {
	if s == "" {
		return "(none)"
	}
	return fmt.Sprintf("%q", s)
}
