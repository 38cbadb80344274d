package main

import (
	"errors"
	"regexp"
	"strings"
	"syscall"

	"bake.build/bake/runtime/op"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/solve"
)

// A pattern is a failure that many have met, told by the log of the step.
type pattern struct {
	log  *regexp.Regexp
	of   func(c *op.Command) bool // whether it can be the cause; nil when it always can
	hint string
}

var patterns = []pattern{
	{
		log:  regexp.MustCompile(`Temporary failure (in name resolution|resolving)|Could not resolve|Name or service not known|Network is unreachable|bad address`),
		of:   func(c *op.Command) bool { return c.NoNetwork },
		hint: "the step has network = False, which cuts it off from every network",
	},
	{
		log: regexp.MustCompile(`\[\[: not found|Syntax error: "?(\(|redirection)|Bad substitution|(source|declare|shopt|function|pushd|mapfile): not found|Illegal option -o pipefail`),
		of:  runsSh,
		hint: "the script is run by /bin/sh, and this belongs to bash: begin it with #!/bin/bash,\n" +
			`or give interpreter = ["/bin/bash", "-e"]`,
	},
}

// runsSh reports whether a command's script is run by /bin/sh.
func runsSh(c *op.Command) bool {
	if len(c.Interpreter) > 0 {
		return strings.HasSuffix(c.Interpreter[0], "/sh") || c.Interpreter[0] == "sh"
	}
	first, _, _ := strings.Cut(c.Script, "\n")
	return !strings.HasPrefix(first, "#!") || strings.HasSuffix(strings.Fields(first + " ")[0], "/sh")
}

// commandOf returns the command that n runs, or nil.
func commandOf(n *plan.Node) *op.Command {
	switch o := n.Op.(type) {
	case *op.Shell:
		return &o.Command
	case *op.Test:
		return &o.Command
	}
	return nil
}

// hintFor returns what may help with a failed node, or "".
func hintFor(e *solve.NodeError) string {
	if errors.Is(e.Err, syscall.ENOSPC) {
		return "the disk is full: bake cache du says what the cache takes, bake cache prune frees some of it, BAKE_CACHE_DIR moves it"
	}
	c := commandOf(e.Node)
	if c == nil {
		return ""
	}
	log := strings.Join(e.Tail, "\n")
	for _, p := range patterns {
		if p.log.MatchString(log) && (p.of == nil || p.of(c)) {
			return p.hint
		}
	}
	return ""
}
