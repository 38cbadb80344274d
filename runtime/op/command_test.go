package op

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"bake.build/bake/platforms"
)

func TestCommand(t *testing.T) {
	c := Command{
		Script: "echo hello\n", Args: []string{"a b"}, Env: map[string]string{"Z": "1", "A": "2"}, User: "app", Workdir: "/srv",
		Secrets:   []Secret{{Name: "token", Env: "TOKEN"}, {Name: "token", Path: "/run/secrets/t"}},
		Caches:    []string{"/var/cache/apt/", "/var/cache-apt"},
		NoNetwork: true,
	}
	m := &machine{}
	if err := apply(t, &Shell{Command: c}, m); err != nil {
		t.Fatal(err)
	}
	got := m.cmds[0]
	got.Stdout, got.Stderr = nil, nil
	want := platforms.Cmd{
		Args: []string{"/bin/sh", "-e", "/run/bake/step", "a b"},
		Env:  []string{"A=2", "Z=1", "TOKEN=s3cret"},
		Dir:  "/srv", User: "app", NoNetwork: true, Secret: true,
		Files: []platforms.File{
			{Path: "/run/bake/step", Data: []byte("echo hello\n"), Mode: 0o755, User: "app"},
			{Path: "/run/secrets/t", Data: []byte("s3cret"), Mode: 0o400, User: "app"},
		},
		Caches: []platforms.Cache{{ID: "var/cache/apt", Dir: "/var/cache/apt/"}, {ID: "var/cache-apt", Dir: "/var/cache-apt"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestInterpreter(t *testing.T) {
	for _, c := range []struct {
		script string
		given  []string
		want   string
	}{
		{"true", nil, "/bin/sh -e"},
		{"#!/bin/bash\ntrue", nil, "/bin/bash"},
		{"#! /usr/bin/env -S python3 -u \r\ntrue", nil, "/usr/bin/env|-S python3 -u"},
		{"#!/bin/bash", nil, "/bin/bash"},
		{"#!\ntrue", nil, "/bin/sh -e"},
		{"#!/bin/bash\ntrue", []string{"zsh"}, "zsh"},
	} {
		got := (&Command{Script: c.script, Interpreter: c.given}).interpreter()
		want := strings.Split(c.want, "|")
		if c.want == "/bin/sh -e" {
			want = []string{"/bin/sh", "-e"}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, want %q", c.script, got, want)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		codes []int
		err   error
		want  string // "" for success
	}{
		{nil, nil, ""},
		{nil, &platforms.ExitError{Code: 2}, "exit status 2"},
		{[]int{0, 2}, &platforms.ExitError{Code: 2}, ""},
		{[]int{0, 2}, nil, ""},
		{[]int{0, 2}, &platforms.ExitError{Code: 3}, "exit status 3"},
		{[]int{2}, nil, "exit status 0 (not among the valid exit codes)"},
		{[]int{2}, errors.New("the machine is gone"), "the machine is gone"},
		{[]int{2}, &platforms.ExitError{Code: 2, Signal: "killed"}, "ended by signal: killed"},
	} {
		m := &machine{run: func(platforms.Cmd) error { return c.err }}
		err := (&Test{Command: Command{Script: "x", ExitCodes: c.codes}}).Check(t.Context(), m, environment())
		if got := text(err); got != c.want {
			t.Errorf("codes %v, %v: %q, want %q", c.codes, c.err, got, c.want)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestMissingSecret(t *testing.T) {
	m := &machine{}
	err := apply(t, &Shell{Command: Command{Script: "x", Secrets: []Secret{{Name: "other", Env: "X"}}}}, m)
	if err == nil || len(m.cmds) != 0 {
		t.Errorf("error %v, ran %d commands", err, len(m.cmds))
	}
}
