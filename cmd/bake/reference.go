package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bake.build/bake/builtins/reference"
	"bake.build/bake/stdlib"
)

// writeReference writes docs/reference.md: the command line and, after it, the
// language.
func (a *app) writeReference(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Reference\n\nWritten from the code by `make reference`; do not edit.\n\n## Command line\n")
	for _, cmd := range a.command().Commands() {
		if !cmd.Hidden && cmd.Name() != "help" {
			writeCommand(&b, cmd, "bake")
		}
	}
	b.WriteString("\n### Exit codes\n\n| code | means |\n|---|---|\n")
	for _, c := range exitCodes {
		fmt.Fprintf(&b, "| %d | %s |\n", c.code, c.doc)
	}
	b.WriteString("\n### Environment\n\n| variable | means |\n|---|---|\n")
	for _, v := range environment {
		fmt.Fprintf(&b, "| `%s` | %s |\n", v.name, v.doc)
	}
	b.WriteString("\n")
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	return reference.Write(w, reference.Sources{
		Builtins:  a.builtins,
		Platforms: a.specs,
		Formats:   a.formats,
		Std:       stdlib.FS,
	})
}

// environment documents the variables that bake reads.
var environment = []struct{ name, doc string }{
	{"BAKE_CACHE_DIR", "the directory of the layer store; by default `bake` in `$XDG_CACHE_HOME`, or `~/.cache/bake`"},
	{"BAKE_PARAM_NAME", "the value of the parameter `name`, when `-p` and `--params-file` give none"},
	{"BAKE_SECRET_NAME", "the value of the secret `name`, when `--secret` gives none"},
	{"NO_COLOR", "turns colours off"},
}

func writeCommand(b *strings.Builder, cmd *cobra.Command, parent string) {
	fmt.Fprintf(b, "\n### %s %s\n\n", parent, cmd.Use)
	text := cmd.Long
	if text == "" {
		text = strings.ToUpper(cmd.Short[:1]) + cmd.Short[1:] + "."
	}
	fmt.Fprintf(b, "%s\n", text)
	var rows []string
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		value, usage := pflag.UnquoteUsage(f)
		if value != "" {
			name += " " + strings.ToUpper(value)
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s |", name, strings.ReplaceAll(usage, "|", "\\|"), defaultOf(f)))
	})
	if len(rows) > 0 {
		fmt.Fprintf(b, "\n| flag | means | default |\n|---|---|---|\n%s\n", strings.Join(rows, "\n"))
	}
	for _, sub := range cmd.Commands() {
		writeCommand(b, sub, parent+" "+cmd.Name())
	}
}

func defaultOf(f *pflag.Flag) string {
	switch f.DefValue {
	case "", "[]", "false", "0":
		return ""
	}
	return "`" + f.DefValue + "`"
}
