package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"bake.build/bake/internal/tool"
	"bake.build/bake/platforms"
)

// A Cmd is a program of this host.
type Cmd struct {
	Args   []string // the program and its arguments, looked up in PATH
	Env    []string // "NAME=value", added to what it gets of bake's environment
	Dir    string   // its working directory, absolute
	Keys   string   // an empty directory that only this user can read, absolute
	Out    io.Writer
	Secret bool // Env holds a secret
}

// passed are the variables of bake's environment that a program gets: what it needs to
// run at all, and nothing that would change what it does without the definition's word.
var passed = []string{
	"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "LANG", "TZ", "SSH_AUTH_SOCK",
	"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR",
	"SystemRoot", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "TEMP", "TMP", "PATHEXT", "ComSpec",
}

// Times of a program's end: how long it has between being asked to end and being killed,
// and how long what it left may hold its output open.
const (
	grace     = 5 * time.Second
	leftovers = time.Second
)

// Run runs a program that reaches m by SSH, to its end. The program finds how in
// variables of its environment:
//
//	BAKE_SSH_CONFIG  a configuration of OpenSSH in which the machine is the host "machine"
//	BAKE_SSH_HOST    the server's address
//	BAKE_SSH_PORT    its port
//	BAKE_SSH_KEY     the file of the private key
//
// Each user of the machine can log in with the key. A program that ran and did not
// succeed gives a *platforms.ExitError. When ctx ends, the program is stopped with all
// that it started, as far as this system can, and the error is ctx's cause.
func Run(ctx context.Context, m platforms.Machine, c Cmd) (err error) {
	s, err := serve(ctx, m, c.Keys, c.Secret)
	if err != nil {
		return fmt.Errorf("serve the machine by SSH: %w", err)
	}
	defer s.close()
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = c.Dir, c.Out, c.Out, leftovers
	cmd.Env = append(environ(), c.Env...)
	cmd.Env = append(cmd.Env,
		"BAKE_SSH_CONFIG="+filepath.Join(c.Keys, "config"),
		"BAKE_SSH_HOST=127.0.0.1",
		fmt.Sprintf("BAKE_SSH_PORT=%d", s.port()),
		"BAKE_SSH_KEY="+filepath.Join(c.Keys, "key"))
	ended, err := tool.Start(cmd)
	if err != nil {
		return err
	}
	release, err := tool.Guard(cmd)
	if err != nil {
		tool.Stop(cmd, ended, 0)
		return err
	}
	defer release()
	select {
	case err = <-ended:
	case <-ctx.Done():
		tool.Stop(cmd, ended, grace)
		return context.Cause(ctx)
	}
	tool.Kill(cmd) // what it left running
	return outcome(err)
}

// environ returns what a program gets of bake's own environment.
func environ() []string {
	var env []string
	for _, name := range passed {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "LC_") {
			env = append(env, v)
		}
	}
	return env
}

// outcome turns the end of a process into that of a command.
func outcome(err error) error {
	exit := (*exec.ExitError)(nil)
	switch {
	case errors.Is(err, exec.ErrWaitDelay):
		return nil // what it left held its output open
	case !errors.As(err, &exit):
		return err
	case exit.ExitCode() < 0:
		return &platforms.ExitError{Code: -1, Signal: strings.TrimPrefix(exit.String(), "signal: ")}
	}
	return &platforms.ExitError{Code: exit.ExitCode()}
}
