package op

import (
	"strings"
	"testing"
)

func TestUnixScript(t *testing.T) {
	for name, tt := range map[string]struct {
		text        string
		interpreter []string
		want        string // "" for an error
	}{
		"unix":                  {"set -e\nfalse\n", nil, "set -e\nfalse\n"},
		"windows":               {"set -e\r\nfalse\r\ntrue", nil, "set -e\nfalse\ntrue"},
		"windows with #!":       {"#!/bin/bash -eu\r\nfalse\r\n", nil, "#!/bin/bash -eu\nfalse\n"},
		"windows python":        {"#!/usr/bin/python3\r\nx = 1\r\n", nil, "#!/usr/bin/python3\nx = 1\n"},
		"mixed":                 {"set -e\r\nfalse\n", nil, ""},
		"mixed, env":            {"#!/usr/bin/env bash\r\nfalse\n", nil, ""},
		"mixed, given":          {"a\r\nb\n", []string{"/bin/dash"}, ""},
		"mixed, not a shell":    {"a\r\nb\n", []string{"/usr/bin/python3"}, "a\r\nb\n"},
		"a CR inside of a line": {"printf 'a\rb'\n", nil, "printf 'a\rb'\n"},
	} {
		got, err := UnixScript(tt.text, tt.interpreter)
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%s: %q, %v, want %q", name, got, err, tt.want)
		}
	}
}

func TestCheckProgram(t *testing.T) {
	for _, tt := range []struct {
		name    string
		mode    uint32
		content string
		refused bool
	}{
		{"/etc/motd", 0o644, "hello\r\n", false},
		{"/etc/motd", 0o644, "#!/bin/sh\r\n", true},
		{"/opt/run", 0o755, "echo\r\n", true},
		{"/opt/run", 0o755, "\x7fELF\x00\r\n", false},
		{"/opt/run", 0o755, "echo\n", false},
		{"/usr/local/bin/run", 0o644, "echo\r\n", true},
		{"/etc/profile.d/proxy.sh", 0o644, "export a=b\r\n", true},
		{"/etc/cron.d/job", 0o644, "* * * * * root true\r\n", true},
		{"/usr/share/bin-notes", 0o644, "a\r\n", false},
		{"/opt/run", 0o755, "no line end", false},
	} {
		err := CheckProgram(tt.name, tt.mode, []byte(tt.content))
		if (err != nil) != tt.refused || err != nil && !strings.Contains(err.Error(), "CR LF") {
			t.Errorf("%s, %o, %q: %v", tt.name, tt.mode, tt.content, err)
		}
	}
}
