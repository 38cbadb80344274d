package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"bake.build/bake/builtins"
	"bake.build/bake/internal/printable"
	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/solve"
)

func (a *app) planCommand() *cobra.Command {
	f := &buildFlags{}
	asJSON := false
	cmd := &cobra.Command{
		Use:   "plan [DEFINITION] [TARGET…]",
		Short: "show what a build would do: what is cached, what would run and why",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.plan(cmd.Context(), args, f, asJSON)
		},
	}
	cmd.ValidArgsFunction = a.completer(allTargets)
	f.add(cmd.Flags())
	cmd.Flags().StringVarP(&f.out, "out", "o", "out", "output `directory` for artifacts")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write the plan as JSON, as docs/json.md describes it")
	return cmd
}

func (a *app) plan(ctx context.Context, args []string, f *buildFlags, asJSON bool) error {
	file, patterns := a.splitArgs(args)
	return a.withSession(ctx, file, &f.definitionFlags, func(s *session) error {
		targets, err := build.Choose(build.Targets(s.Definition), patterns)
		if err != nil {
			return err
		}
		targets = build.WithTests(s.Definition, targets)
		s.WarnUnused()
		schedule, err := s.Plan(ctx, targets)
		if err != nil {
			return err
		}
		if asJSON {
			return s.writeJSON(targets, schedule)
		}
		past, err := s.Past()
		if err != nil {
			return err
		}
		if err := s.writePlan(targets, schedule, past); err != nil {
			return err
		}
		if err := s.warnOfHost(ctx, schedule); err != nil {
			return err
		}
		for _, err := range s.Foresee(ctx, schedule) {
			fmt.Fprintf(s.stderr, "the build would fail: %v\n", err)
		}
		return nil
	})
}

// writeJSON writes the plan for programs.
func (s *session) writeJSON(targets []builtins.Target, schedule *solve.Schedule) error {
	d, err := s.Describe(targets, schedule)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(d); err != nil {
		return err
	}
	_, err = printable.Raw(s.stdout).Write(printable.JSON(text.Bytes()))
	return err
}

// warnOfHost tells what this host lacks to run what the schedule says.
func (s *session) warnOfHost(ctx context.Context, schedule *solve.Schedule) error {
	problems, err := s.Lacking(ctx, schedule)
	if len(problems) > 0 {
		fmt.Fprintln(s.stderr, "the build would not start on this host:")
		writeProblems(s.stderr, problems)
	}
	return err
}

// A planWriter prints each target as a tree, from the target to its source. A
// node that was shown is not shown again.
type planWriter struct {
	s        *session
	table    table
	schedule *solve.Schedule
	past     *build.Past
	shown    map[plan.Key]bool
}

func (s *session) writePlan(targets []builtins.Target, schedule *solve.Schedule, past *build.Past) error {
	p := &planWriter{
		s:        s,
		table:    table{drop: 2, cut: []int{0, 3}, more: "…"},
		schedule: schedule,
		past:     past,
		shown:    make(map[plan.Key]bool),
	}
	for _, t := range targets {
		p.chain(t.Node, "")
	}
	run, cached := schedule.Count()
	if err := p.table.write(s.stdout, columnsOf(s.stdout)); err != nil {
		return err
	}
	if len(targets) == 0 {
		fmt.Fprintln(s.stdout, "nothing to do: the definition has no targets; "+makesTargets)
		return nil
	}
	if run == 0 {
		fmt.Fprintln(s.stdout, "nothing to do")
		return nil
	}
	fmt.Fprintf(s.stdout, "%d to run, %d cached\n", run, cached)
	return nil
}

// chain prints n and below it, indented once more at each branch, what it is
// made of.
func (p *planWriter) chain(n *plan.Node, indent string) {
	for m := n; ; m = p.below(m) {
		if p.shown[m.Key] {
			p.table.rows = append(p.table.rows, []string{indent + printable.OneLine(m.Name), "(see above)"})
			return
		}
		p.shown[m.Key] = true
		p.line(m, indent)
		if len(m.Deps) == 0 {
			return
		}
		for _, d := range m.Deps[1:] {
			p.chain(d, indent+"    ")
		}
		if m == n {
			indent += "  "
		}
	}
}

// below returns what n is made of first: the layer, or the disk of that where it is
// made in this run.
func (p *planWriter) below(n *plan.Node) *plan.Node {
	for _, u := range n.Uses {
		if p.schedule.Of(u).State == solve.ToRun {
			return u
		}
	}
	return n.Deps[0]
}

func (p *planWriter) line(n *plan.Node, indent string) {
	d := p.schedule.Of(n)
	what := string(d.State)
	if d.State == solve.ToRun {
		what = "run"
		if why := p.past.Why(n, d); why != "" {
			what += ": " + why
		}
	}
	p.table.rows = append(p.table.rows, []string{indent + printable.OneLine(n.Name), place(n.Pos), n.Key.Short(), what})
}
