package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bake.build/bake/builtins/reference"
	"bake.build/bake/runtime/spec"
	"bake.build/bake/starlark/lint"
	"bake.build/bake/stdlib"
)

// book makes the reference: the command line and, after it, the language.
func (a *app) book() (*reference.Book, error) {
	b, err := reference.Language(reference.Sources{Builtins: a.builtins, Platforms: a.specs, Formats: a.formats, Std: stdlib.FS})
	if err != nil {
		return nil, err
	}
	sections := []*reference.Section{a.commandsSection(), rulesSection(), exitSection(), environmentSection()}
	for _, s := range b.Sections {
		if sections = append(sections, s); s.Name == "functions" {
			sections = append(sections, reference.Tests(spec.Methods()))
		}
	}
	b.Sections = sections
	return b, nil
}

// writeReference writes docs/reference.md.
func (a *app) writeReference(w io.Writer) error {
	b, err := a.book()
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, "# Reference\n\nWritten from the code by `make reference`; do not edit.\n\n"+b.Markdown())
	return err
}

func (a *app) commandsSection() *reference.Section {
	s := &reference.Section{Name: "commands", Title: "Command line"}
	for _, cmd := range a.command().Commands() {
		if !cmd.Hidden && cmd.Name() != "help" {
			s.Entries = appendCommand(s.Entries, cmd, "bake")
		}
	}
	return s
}

// rulesSection documents the rules of bake lint.
func rulesSection() *reference.Section {
	s := &reference.Section{Name: "rules", Title: "Rules of bake lint"}
	for _, r := range lint.Rules() {
		e := reference.Entry{Name: r.Name, Kind: reference.Other}
		e.Doc = fmt.Sprintf("%s\n\nWrong:\n\n```python\n%s\n```\n\nRight:\n\n```python\n%s\n```", r.Doc, strings.TrimSpace(r.Wrong), strings.TrimSpace(r.Right))
		if r.Fix != "" {
			e.Doc += "\n\n`--fix` " + r.Fix + "."
		}
		s.Entries = append(s.Entries, e)
	}
	return s
}

func exitSection() *reference.Section {
	s := &reference.Section{Name: "exit codes", Title: "Exit codes", Head: []string{"code", "means"}}
	for _, c := range exitCodes {
		s.Entries = append(s.Entries, reference.Entry{Name: fmt.Sprint(c.code), Kind: reference.Other, Summary: c.doc})
	}
	return s
}

// environment documents the variables that bake reads.
var environment = []struct{ name, doc string }{
	{"BAKE_CACHE_DIR", "the directory of the layer store; by default `bake` in `$XDG_CACHE_HOME`, or `~/.cache/bake`"},
	{"BAKE_PARAM_NAME", "the value of the parameter `name`, when `-p` and `--params-file` give none"},
	{"BAKE_SECRET_NAME", "the value of the secret `name`, when `--secret` gives none"},
	{"NO_COLOR", "turns colours off"},
}

func environmentSection() *reference.Section {
	s := &reference.Section{Name: "environment", Title: "Environment", Head: []string{"variable", "means"}}
	for _, v := range environment {
		s.Entries = append(s.Entries, reference.Entry{Name: v.name, Kind: reference.Other, Summary: v.doc})
	}
	return s
}

func appendCommand(list []reference.Entry, cmd *cobra.Command, parent string) []reference.Entry {
	text := cmd.Long
	if text == "" {
		text = strings.ToUpper(cmd.Short[:1]) + cmd.Short[1:] + "."
	}
	e := reference.Entry{Name: parent + " " + cmd.Name(), Kind: reference.Command, Title: parent + " " + cmd.Use, Signature: parent + " " + cmd.Use}
	e.Summary, e.Doc, _ = strings.Cut(text, "\n\n")
	flags := reference.Group{What: "flag"}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		value, usage := pflag.UnquoteUsage(f)
		if value != "" {
			name += " " + strings.ToUpper(value)
		}
		flags.Options = append(flags.Options, reference.Option{Name: name, Help: usage, Default: defaultOf(f)})
	})
	if len(flags.Options) > 0 {
		e.Groups = []reference.Group{flags}
	}
	list = append(list, e)
	for _, sub := range cmd.Commands() {
		list = appendCommand(list, sub, parent+" "+cmd.Name())
	}
	return list
}

func defaultOf(f *pflag.Flag) string {
	switch f.DefValue {
	case "", "[]", "false", "0":
		return ""
	}
	return f.DefValue
}
