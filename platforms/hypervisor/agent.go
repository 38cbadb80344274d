package hypervisor

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// agentTimeout is how long the guest agent may take to answer.
const agentTimeout = 10 * time.Second

// MaxAnswer is how many bytes a guest may say for one command: what is asked for is
// answered by some dozen, and a guest may say anything.
const MaxAnswer = 1 << 20

// AgentPort is the name of the virtio port that QEMU's guest agent listens at.
const AgentPort = "org.qemu.guest_agent.0"

// An Agent is QEMU's guest agent at the other end of a connection. See the "QEMU Guest
// Agent Protocol Reference".
type Agent struct{ net.Conn }

// An AgentError is a command that the agent does not do.
type AgentError struct{ Desc string }

// Error implements error.
func (e *AgentError) Error() string { return "guest agent: " + e.Desc }

// Freeze lets the agent bring the guest's file systems to rest, until Thaw. It reports
// false when the agent cannot.
func (a Agent) Freeze() (frozen bool, err error) {
	if _, err := a.Call("guest-fsfreeze-freeze"); err == nil {
		return true, nil
	}
	// It may have frozen some; one that never froze any does not mind.
	err = a.Thaw()
	if e := (*AgentError)(nil); errors.As(err, &e) {
		err = nil
	}
	return false, err
}

// Thaw ends what Freeze has begun.
func (a Agent) Thaw() error {
	_, err := a.Call("guest-fsfreeze-thaw")
	return err
}

// Call runs one command of the agent. A stale answer of an earlier one is passed over by
// a number that guest-sync gives back.
func (a Agent) Call(command string) (json.RawMessage, error) {
	if err := a.SetDeadline(time.Now().Add(agentTimeout)); err != nil {
		return nil, err
	}
	token := time.Now().UnixNano() & 0x7fffffff
	if _, err := fmt.Fprintf(a, "{\"execute\":\"guest-sync\",\"arguments\":{\"id\":%d}}\n{\"execute\":%q}\n", token, command); err != nil {
		return nil, fmt.Errorf("ask the guest agent: %w", err)
	}
	said := &io.LimitedReader{R: a, N: MaxAnswer}
	lines, synced := bufio.NewReader(said), false
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil && said.N == 0 {
			return nil, fmt.Errorf("the guest agent says more than %d bytes", MaxAnswer)
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
			return nil, &AgentError{answer.Error.Desc}
		default:
			return answer.Return, nil
		}
	}
}
