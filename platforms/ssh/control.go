package ssh

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	xssh "golang.org/x/crypto/ssh"
)

// A controlShell is a shell of root's that stays for as long as a connection and does
// small things at once: it stops commands, and takes away what they left.
type controlShell struct {
	session *xssh.Session
	in      io.WriteCloser
	out     *bufio.Reader

	mu     sync.Mutex
	broken error
}

// controlScript executes each line that comes, and then prints the word that
// begins the line.
const controlScript = `_n="$(printf "\nx")"; _n="${_n%x}"; while IFS= read -r l; do t=${l%% *}; eval "${l#* }" </dev/null 2>/dev/null; printf "\n%s\n" "$t"; done`

// startControl starts a control shell.
func (m *Machine) startControl(ctx context.Context, l *link) (*controlShell, error) {
	s, err := l.session()
	if err != nil {
		return nil, fmt.Errorf("start a shell: %w", err)
	}
	j := &controlShell{session: s}
	out, err := s.StdoutPipe()
	if err == nil {
		j.out = bufio.NewReader(out)
		j.in, err = s.StdinPipe()
	}
	line, input := m.asRoot(controlScript)
	if err == nil {
		err = s.Start(line)
	}
	if err == nil {
		_, err = io.WriteString(j.in, input)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start a shell: %w", err), ignoreEOF(s.Close()))
	}
	if _, err := j.do(ctx, ":"); err != nil {
		return nil, fmt.Errorf("start a shell: %w", err)
	}
	return j, nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// do executes a line of shell and returns what it prints. A control shell whose
// answer was not waited for is of no more use, and ends.
func (j *controlShell) do(ctx context.Context, line string) (string, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil {
		return "", j.broken
	}
	token := rand.Text()
	type answer struct {
		text string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		text, err := j.ask(token, line)
		got <- answer{text, err}
	}()
	select {
	case a := <-got:
		j.broken = a.err
		return a.text, a.err
	case <-ctx.Done():
		j.broken = errors.New("the shell in the machine was given up")
		_ = j.session.Close() // frees the reader
		return "", context.Cause(ctx)
	}
}

func (j *controlShell) ask(token, line string) (string, error) {
	if _, err := io.WriteString(j.in, token+" "+line+"\n"); err != nil {
		return "", fmt.Errorf("the connection to the machine broke: %w", err)
	}
	var text strings.Builder
	for {
		l, err := j.out.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("the connection to the machine broke: %w", err)
		}
		if strings.TrimSuffix(l, "\n") == token {
			return strings.TrimSuffix(text.String(), "\n"), nil
		}
		text.WriteString(l)
	}
}
