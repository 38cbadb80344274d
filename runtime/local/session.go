package local

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"bake.build/bake/platforms"
)

// A session is one channel of a connection, in which one command runs.
type session struct {
	*server
	ch   ssh.Channel
	user string // "" means root
	env  []string
}

// login runs $1 as an SSH server would: by a shell, in the home directory.
const login = `cd "${HOME:-/}" 2>/dev/null || cd /
exec /bin/sh -c "$1"`

// sftp runs the machine's own SFTP server.
const sftp = `for p in /usr/lib/openssh/sftp-server /usr/libexec/openssh/sftp-server /usr/lib/ssh/sftp-server /usr/libexec/sftp-server /usr/libexec/ssh/sftp-server; do
	if [ -x "$p" ]; then
		exec "$p"
	fi
done
echo "the machine has no sftp-server" >&2
exit 127`

// serve answers the requests of a session (RFC 4254, 6) until the client ends it.
func (s *session) serve(ctx context.Context, requests <-chan *ssh.Request) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	started := false
	start := func(command []string) {
		started = true
		go func() {
			defer close(ended)
			s.run(ctx, command)
		}()
	}
	for req := range requests {
		ok := true
		switch text := payload(req); {
		case req.Type == "env":
			ok = s.setenv(req)
		case req.Type == "pty-req", req.Type == "window-change":
			// Clients ask for a terminal that they can do without.
		case req.Type == "signal":
			cancel()
		case started:
			ok = false
		case req.Type == "exec":
			start([]string{"/bin/sh", "-c", login, "sh", text})
		case req.Type == "shell":
			start([]string{"/bin/sh", "-c", login, "sh", "exec /bin/sh"})
		case req.Type == "subsystem" && text == "sftp":
			start([]string{"/bin/sh", "-c", sftp})
		default:
			ok = false
		}
		if req.WantReply {
			_ = req.Reply(ok, nil) // or the connection has ended, and so do the requests
		}
	}
	cancel()
	if started {
		<-ended
	}
	_ = s.ch.Close() // where nothing ran
}

// payload returns the one string that a request of a command has.
func payload(req *ssh.Request) string {
	var p struct{ Text string }
	if ssh.Unmarshal(req.Payload, &p) != nil {
		return ""
	}
	return p.Text
}

// setenv takes the variables that OpenSSH's servers take by default.
func (s *session) setenv(req *ssh.Request) bool {
	var v struct{ Name, Value string }
	if ssh.Unmarshal(req.Payload, &v) != nil || v.Name != "LANG" && !strings.HasPrefix(v.Name, "LC_") {
		return false
	}
	s.env = append(s.env, v.Name+"="+v.Value)
	return true
}

// run runs a command in the machine and tells the client how it ended.
func (s *session) run(ctx context.Context, command []string) {
	defer s.ch.Close()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return
	}
	err := s.m.Run(ctx, platforms.Cmd{
		Args: command, Env: s.env, User: s.user, Secret: s.secret,
		Stdin: s.ch, Stdout: s.ch, Stderr: s.ch.Stderr(),
	})
	exit := (*platforms.ExitError)(nil)
	switch {
	case err == nil:
		s.tell("exit-status", struct{ Code uint32 }{0})
	case errors.As(err, &exit) && exit.Signal == "":
		s.tell("exit-status", struct{ Code uint32 }{uint32(exit.Code)})
	default:
		// A client takes 255, or no status, for a connection that broke.
		fmt.Fprintf(s.ch.Stderr(), "bake: %v\n", err)
	}
}

func (s *session) tell(request string, value any) {
	_, _ = s.ch.SendRequest(request, false, ssh.Marshal(value)) // or the client has gone
}
