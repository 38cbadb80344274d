package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"bake.build/bake/internal/lazyregexp"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/op"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/solve"
)

// A pattern is a failure that many have met, told by the log of the step.
type pattern struct {
	log  *lazyregexp.Regexp
	of   func(c *op.Command) bool // whether it can be the cause; nil when it always can
	page string                   // its heading on the page troubleshooting
	hint string
}

// troubleshooting is the page that explains hints, and the others of its headings that
// hints name.
const (
	troubleshooting = "troubleshooting"
	pageCommand     = "missing-commands"
	pageTrace       = "failing-scripts"
	pageDisk        = "full-disks"
	pageOutput      = "full-output-directories"
)

// more adds to a hint where more about it is to be read, in the terminal and offline.
func more(hint, heading string) string {
	return hint + "\nmore: bake doc " + troubleshooting + "#" + heading
}

var patterns = []pattern{
	{
		log:  lazyregexp.New(`(?i)(unable to locate package|no match for argument:?|unable to find a match:?|no package|no such package|couldn't find any package).*\b[0-9]+\.[0-9]+\.[0-9]+`),
		of:   saysUname,
		page: "kernel-of-the-host",
		hint: "uname -r names the kernel that runs the step, not one of the image: name the package without it\n" +
			"(linux-headers-cloud-amd64), or take the version from /lib/modules",
	},
	{
		log:  lazyregexp.New(`(?i)ping: .*operation not permitted|ping: (permission denied|socket)|lacking privilege for (icmp|raw) socket`),
		page: "ping",
		hint: "ping needs raw packets, which a step may not send: curl or getent hosts tries a network, a test() on a machine can ping",
	},
	{
		log:  lazyregexp.New(`(?i)(system has not been booted with systemd|failed to (connect to bus|talk to init daemon|set wall message)|call to reboot failed|init: .*initctl)`),
		of:   func(c *op.Command) bool { return restarts.MatchString(c.Script) },
		page: "restarts",
		hint: "a step cannot restart what does not run: leave the restart out; what has to happen in a running machine\n" +
			"goes into a test(), or into steps of qemu(), which has reboot()",
	},
	{
		log:  lazyregexp.New(`(?i)system has not been booted with systemd`),
		page: "systemd-in-a-step",
		hint: "no systemd runs in a step: systemctl enable, disable and mask work, is-enabled asks,\n" +
			"and what needs a running unit goes into a test()",
	},
	{
		log:  lazyregexp.New(`Temporary failure (in name resolution|resolving)|Could not resolve|Name or service not known|Network is unreachable|bad address`),
		of:   func(c *op.Command) bool { return c.NoNetwork },
		page: "no-network",
		hint: "the step has network = False, which cuts it off from every network",
	},
	{
		log:  lazyregexp.New(`\[\[: not found|Syntax error: "?(\(|redirection)|Bad substitution|(source|declare|shopt|function|pushd|mapfile): not found|Illegal option -o pipefail`),
		of:   runsSh,
		page: "scripts-for-bash",
		hint: "the script is run by /bin/sh, and this belongs to bash: begin it with #!/bin/bash,\n" +
			`or give interpreter = ["/bin/bash", "-e"]`,
	},
	{
		log:  lazyregexp.New(`sudo: ((command )?not found|No such file)|‘sudo’: No such file`),
		page: "sudo",
		hint: "steps run as root: leave sudo out; user = \"name\" runs a step as somebody else",
	},
}

// missingCommand matches what shells and env say of a command that is not there.
var missingCommand = lazyregexp.New(`(?m)(?:^|[:\s‘'])([\w.+-]+)(?:: (?:command )?not found|['’]: No such file or directory)\s*$`)

// traced matches scripts that show their commands themselves.
var traced = lazyregexp.New(`(?m)^\s*set -\w*x|^#!.* -\w*x`)

// fullDisk is what programs print where a disk is full.
const fullDisk = "No space left on device"

// hintForCommand returns what may help with a command that failed with status, of
// which no pattern knows more.
func hintForCommand(c *op.Command, status int, log string) string {
	switch {
	case status == 127:
		if m := missingCommand.FindAllStringSubmatch(log, -1); m != nil {
			return more(fmt.Sprintf("the layer has no %s: install the package that has it in a step before", m[len(m)-1][1]), pageCommand)
		}
	case status > 0 && strings.Contains(strings.TrimSpace(c.Script), "\n") && runsShell(c) && !traced.MatchString(c.Script):
		return more("set -x at the beginning of the script shows each command before it runs", pageTrace)
	}
	return ""
}

// runsShell reports whether a command's script is one of a shell.
func runsShell(c *op.Command) bool {
	first, _, _ := strings.Cut(c.Script, "\n")
	if len(c.Interpreter) > 0 {
		first = "#!" + c.Interpreter[0]
	}
	return !strings.HasPrefix(first, "#!") || shells.MatchString(first)
}

var shells = lazyregexp.New(`^#!\s*(/usr/bin/env )?[\w/]*\b(sh|bash|dash|ash|ksh|zsh)\b`)

// restarts matches scripts that restart or stop the machine.
var restarts = lazyregexp.New(`\b(reboot|shutdown|poweroff|halt|init 6)\b`)

func saysUname(c *op.Command) bool { return strings.Contains(c.Script, "uname -r") }

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
	log := strings.Join(e.Tail, "\n")
	if errors.Is(e.Err, syscall.ENOSPC) || onHost(e.Node) && strings.Contains(log+e.Err.Error(), fullDisk) {
		return hintForDisk(e)
	}
	c := commandOf(e.Node)
	if c == nil {
		return ""
	}
	for _, p := range patterns {
		if p.log.MatchString(log) && (p.of == nil || p.of(c)) {
			return more(p.hint, p.page)
		}
	}
	var exit *platforms.ExitError
	if errors.As(e.Err, &exit) {
		return hintForCommand(c, exit.Code, log)
	}
	return ""
}

// onHost reports whether the machine of n writes to the disk of this host.
func onHost(n *plan.Node) bool { return n.Platform != nil && n.Platform.Name == "rootfs" }

// hintForDisk says what may help where the disk of the store, or that of the
// output directory, is full.
func hintForDisk(e *solve.NodeError) string {
	var file *fs.PathError
	switch e.Node.Op.(type) {
	case *export.Op, *export.Output:
		if errors.As(e.Err, &file) && export.InStaging(file.Path) {
			return more("the disk of the output directory is full: -o names another; bake cache prune frees some where the cache is on it too", pageOutput)
		}
	}
	return more("the disk is full: bake cache du says what the cache takes, bake cache prune frees some of it, BAKE_CACHE_DIR moves it", pageDisk)
}
