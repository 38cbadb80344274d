package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// agentTimeout is how long the guest agent may take to answer.
const agentTimeout = 10 * time.Second

// maxAgentAnswer is how many bytes the guest agent may say for one command: what is
// asked for is answered by some dozen, and a guest may say anything.
const maxAgentAnswer = 1 << 20

// portOpen reports whether a program in the guest has opened the virtio port
// that is QEMU's character device id.
func (v *vm) portOpen(ctx context.Context, id string) (bool, error) {
	var devices []struct {
		Label string `json:"label"`
		Open  bool   `json:"frontend-open"`
	}
	if err := v.qmp.Run(ctx, "query-chardev", nil, &devices); err != nil {
		return false, err
	}
	for _, d := range devices {
		if d.Label == id {
			return d.Open, nil
		}
	}
	return false, nil
}

// freeze lets the guest agent bring the guest's file systems to rest, until thaw
// is called. frozen is false when there is no agent, or it cannot.
func (v *vm) freeze(ctx context.Context) (frozen bool, thaw func() error, err error) {
	open, err := v.portOpen(ctx, "agent")
	if err != nil || !open {
		return false, nil, err
	}
	if _, err := agentCall(v.agent, "guest-fsfreeze-freeze"); err != nil {
		// It may have frozen some; one that never froze any does not mind.
		_, thawErr := agentCall(v.agent, "guest-fsfreeze-thaw")
		return false, nil, ignoreAgent(thawErr)
	}
	return true, func() error {
		_, err := agentCall(v.agent, "guest-fsfreeze-thaw")
		return err
	}, nil
}

// An agentError is a command that the agent does not do.
type agentError struct{ desc string }

func (e *agentError) Error() string { return "guest agent: " + e.desc }

func ignoreAgent(err error) error {
	if e := (*agentError)(nil); errors.As(err, &e) {
		return nil
	}
	return err
}

// agentCall runs one command of the guest agent; see the "QEMU Guest Agent
// Protocol Reference". A stale answer of an earlier one is passed over by a
// number that guest-sync gives back.
func agentCall(conn *net.UnixConn, command string) (json.RawMessage, error) {
	if err := conn.SetDeadline(time.Now().Add(agentTimeout)); err != nil {
		return nil, err
	}
	token := time.Now().UnixNano() & 0x7fffffff
	if _, err := fmt.Fprintf(conn, "{\"execute\":\"guest-sync\",\"arguments\":{\"id\":%d}}\n{\"execute\":%q}\n", token, command); err != nil {
		return nil, fmt.Errorf("ask the guest agent: %w", err)
	}
	said := &io.LimitedReader{R: conn, N: maxAgentAnswer}
	lines, synced := bufio.NewReader(said), false
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil && said.N == 0 {
			return nil, fmt.Errorf("the guest agent says more than %d bytes", maxAgentAnswer)
		}
		if err != nil {
			return nil, fmt.Errorf("read what the guest agent says: %w", err)
		}
		var answer struct {
			Return json.RawMessage `json:"return"`
			Error  *struct {
				Desc string `json:"desc"`
			} `json:"error"`
		}
		if err := json.Unmarshal(line, &answer); err != nil {
			return nil, fmt.Errorf("read what the guest agent says: %w", err)
		}
		switch {
		case !synced:
			synced = string(answer.Return) == fmt.Sprint(token)
		case answer.Error != nil:
			return nil, &agentError{answer.Error.Desc}
		default:
			return answer.Return, nil
		}
	}
}
