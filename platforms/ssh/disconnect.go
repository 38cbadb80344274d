package ssh

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/wait"
)

// Times of restarts: how long a machine may take to begin to go down after a
// command that may end the connection, and how long one whose connection broke
// is waited for, to say why.
const (
	goingDown  = 5 * time.Second
	askAgain   = 250 * time.Millisecond
	findReason = 15 * time.Second
)

// broke says that the connection broke under a command, and why as far as can be
// told.
func (m *Machine) broke(ctx context.Context, l *link, cause error) error {
	if err := m.c.alive(); err != nil {
		return m.c.withConsole(err)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m.mu.Lock()
	closed := m.closed
	m.mu.Unlock()
	if closed {
		return ErrClosed
	}
	if m.c.Restarts != nil && m.c.Restarts() != l.restarts {
		return m.c.withConsole(errors.New("the machine restarted while the command ran"))
	}
	short, cancel := context.WithTimeout(ctx, findReason)
	defer cancel()
	if l.alive() {
		_ = l.client.Close() // it is of no more use
		<-l.gone
	}
	again, err := m.current(short)
	if err == nil && again.bootID != l.bootID {
		return m.c.withConsole(errors.New("the machine restarted while the command ran"))
	}
	// The connection may end a little before the machine is known to have.
	if err := m.c.alive(); err != nil {
		return m.c.withConsole(err)
	}
	return m.c.withConsole(fmt.Errorf("the connection to the machine broke while the command ran: %w", cause))
}

// afterDisconnect waits until the machine can be used again after a command that
// may have ended the connection.
func (m *Machine) afterDisconnect(ctx context.Context, l *link) error {
	for end := time.Now().Add(goingDown); ; {
		stopping, err := l.control.do(ctx, `[ -d /run/systemd/system ] && systemctl is-system-running`)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil || strings.TrimSpace(stopping) == "stopping" {
			return m.awaitNewBoot(ctx, l, false)
		}
		if time.Now().After(end) {
			return nil // it goes on as if nothing were
		}
		if err := wait.PauseOr(ctx, askAgain, l.gone); err != nil {
			return err
		}
	}
}

// awaitNewBoot waits for the end of the connection and makes a new one. With
// restart the machine has to have started anew; otherwise the connection may
// have ended for another reason, unless the machine is still on its way down.
func (m *Machine) awaitNewBoot(ctx context.Context, l *link, restart bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, m.c.timeout(), errTimeout)
	defer cancel()
	select {
	case <-l.gone:
	case <-ctx.Done():
		return m.noRestart(ctx)
	}
	for {
		again, err := m.current(ctx)
		if err != nil {
			return err
		}
		if again.bootID != l.bootID || l.bootID == "" {
			return m.afterBoot(ctx, again)
		}
		stopping, err := again.control.do(ctx, `[ -d /run/systemd/system ] && systemctl is-system-running`)
		if err == nil && !restart && strings.TrimSpace(stopping) != "stopping" {
			return nil
		}
		if wait.PauseOr(ctx, askAgain, again.gone) != nil {
			return m.noRestart(ctx)
		}
	}
}

func (m *Machine) afterBoot(ctx context.Context, l *link) error {
	if !m.c.CloudInit {
		return nil
	}
	return m.waitCloudInit(ctx, l, quiet{})
}

func (m *Machine) noRestart(ctx context.Context) error {
	if err := m.c.alive(); err != nil {
		return m.c.withConsole(err)
	}
	if cause := context.Cause(ctx); !errors.Is(cause, errTimeout) {
		return cause
	}
	return m.c.withConsole(fmt.Errorf("the machine has not restarted within %v", m.c.timeout()))
}

// restartScript restarts a machine in order.
const restartScript = `if command -v systemctl >/dev/null 2>&1; then systemctl --no-block reboot; else reboot; fi`

// Reboot restarts the machine and returns when it can be used again. See
// platforms.Rebooter.
func (m *Machine) Reboot(ctx context.Context) error {
	l, err := m.current(ctx)
	if err != nil {
		return fmt.Errorf("reboot: %w", err)
	}
	// A machine that goes down at once does not answer any more.
	if _, err := l.control.do(ctx, restartScript); err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := m.awaitNewBoot(ctx, l, true); err != nil {
		return fmt.Errorf("reboot: %w", err)
	}
	return nil
}

var _ platforms.Rebooter = (*Machine)(nil)
