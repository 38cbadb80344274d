package main

import (
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/op"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/solve"
)

func TestHints(t *testing.T) {
	for _, c := range []struct {
		name    string
		command op.Command
		log     string
		want    string
	}{
		{"no network", op.Command{NoNetwork: true}, "Temporary failure resolving 'deb.debian.org'", "network = False"},
		{"the host has none", op.Command{}, "Temporary failure resolving 'deb.debian.org'", ""},
		{"dash", op.Command{Script: "[[ -e /x ]]"}, "/run/bake/step: 1: [[: not found", "/bin/bash"},
		{"arrays", op.Command{Script: "a=(1 2)"}, `/run/bake/step: 1: Syntax error: "(" unexpected`, "/bin/bash"},
		{"pipefail", op.Command{Script: "#!/bin/sh -eu\nset -o pipefail"}, "set: Illegal option -o pipefail", "/bin/bash"},
		{"bash itself", op.Command{Script: "#!/bin/bash\nsource x"}, "source: not found", ""},
		{"python", op.Command{Script: "x", Interpreter: []string{"/usr/bin/python3"}}, "[[: not found", ""},
		{"headers", op.Command{Script: "apt-get install -y linux-headers-$(uname -r)"}, "E: Unable to locate package linux-headers-6.1.0-18-amd64\nE: Couldn't find any package by glob", "not one of the image"},
		{"another package", op.Command{Script: "apt-get install -y nginx-1.2.3"}, "E: Unable to locate package nginx-1.2.3", ""},
		{"ping", op.Command{Script: "ping -c1 1.1.1.1"}, "ping: socktype: SOCK_RAW\nping: socket: Operation not permitted", "raw packets"},
		{"ping of bookworm", op.Command{Script: "ping -c1 1.1.1.1"}, "/run/bake/step: 1: ping: Operation not permitted", "raw packets"},
		{"reboot", op.Command{Script: "apt-get upgrade -y; reboot"}, "System has not been booted with systemd as init system (PID 1). Can't operate.\nFailed to connect to bus: Host is down", "leave the restart out"},
		{"is-active", op.Command{Script: "systemctl is-active nginx"}, "System has not been booted with systemd as init system (PID 1). Can't operate.", "is-enabled"},
		{"something else", op.Command{Script: "false"}, "no", ""},
		{"sudo", op.Command{Script: "sudo true"}, "/run/bake/step: 1: sudo: not found", "leave sudo out"},
	} {
		e := &solve.NodeError{Node: &plan.Node{Op: &op.Shell{Command: c.command}}, Err: fmt.Errorf("exit status 2"), Tail: strings.Split(c.log, "\n")}
		if got := hintFor(e); !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s: hint %q, want %q", c.name, got, c.want)
		}
	}
	for _, c := range []struct {
		script, log string
		code        int
		want        string
	}{
		{"wget http://x", "/run/bake/step: 1: wget: not found", 127, "the layer has no wget:"},
		{"#!/bin/bash\nwget x", "/run/bake/step: line 2: wget: command not found", 127, "the layer has no wget:"},
		{"#!/usr/bin/env python3\nprint()", "/usr/bin/env: ‘python3’: No such file or directory", 127, "the layer has no python3:"},
		{"echo a\ntest -e /b", "a", 1, "set -x"},
		{"set -ex\ntest -e /b", "+ test -e /b", 1, ""},
		{"#!/usr/bin/env python3\nx\ny", "NameError", 1, ""},
		{"test -e /b", "", 1, ""},
	} {
		e := &solve.NodeError{
			Node: &plan.Node{Op: &op.Shell{Command: op.Command{Script: c.script}}},
			Err:  fmt.Errorf("run: %w", &platforms.ExitError{Code: c.code}), Tail: strings.Split(c.log, "\n"),
		}
		if got := hintFor(e); !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%q: hint %q, want %q", c.script, got, c.want)
		}
	}
	here := &plan.Platform{Name: "rootfs"}
	text := &solve.NodeError{Node: &plan.Node{Op: &op.Write{}, Platform: here}, Err: fmt.Errorf("exit status 25"), Tail: []string{"E: Write error - write (28: No space left on device)"}}
	if got := hintFor(text); !strings.Contains(got, "bake cache prune") {
		t.Errorf("full disk, told by a tool: hint %q", got)
	}
	text.Node.Platform = &plan.Platform{Name: "qemu"} // it is the machine's disk
	if got := hintFor(text); got != "" {
		t.Errorf("full disk of a machine: hint %q", got)
	}
	out := &solve.NodeError{Node: &plan.Node{Op: &export.Op{}}, Err: &fs.PathError{Op: "write", Path: "/out/.bake-export-k/k.tar", Err: syscall.ENOSPC}}
	if got := hintFor(out); !strings.Contains(got, "-o names another") {
		t.Errorf("full output directory: hint %q", got)
	}
	full := &solve.NodeError{Node: &plan.Node{Op: &op.Write{}}, Err: fmt.Errorf("commit: %w", syscall.ENOSPC)}
	if got := hintFor(full); !strings.Contains(got, "bake cache prune") {
		t.Errorf("full disk: hint %q", got)
	}
}
