package builtins

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"bake.build/bake/runtime/plan"
)

// StepOptions are the options that every step takes. None of them is part of a
// key.
type StepOptions struct {
	Name    string   `bake:"name,keyword" help:"Display name of the step." default:"made from the step"`
	Timeout Duration `bake:"timeout,keyword" help:"Time limit of the step, such as \"10m\"." default:"no limit"`
	Retries Count    `bake:"retries,keyword" help:"Number of retries after a failure." default:"0"`
	Always  bool     `bake:"always,keyword" help:"Run the step in every build, even when its layer is in the cache." default:"False"`
}

// title returns the name of a step for displays: the one that it was given, or
// else auto, cut to a line. What would move a terminal's cursor is left out.
func (o StepOptions) title(auto string) string {
	title := o.Name
	if title == "" {
		title = shorten(auto)
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(title, "\uFFFD"))
}

func (o StepOptions) run() plan.RunOptions {
	return plan.RunOptions{Timeout: time.Duration(o.Timeout), Retries: int(o.Retries), Always: o.Always}
}

// shorten cuts a name that is too long for a line.
func shorten(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	runes := []rune(s)
	return strings.TrimRight(string(runes[:most-1]), " ") + "…"
}

// firstCommand returns the first line of a script that says what it is about.
func firstCommand(script string) string {
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "set ") && !strings.HasPrefix(line, "export ") {
			return strings.Join(strings.Fields(strings.TrimSuffix(line, "\\")), " ")
		}
	}
	return "script"
}
