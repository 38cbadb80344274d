package hypervisor

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
)

// outputMost is how much of what a program writes is kept.
const outputMost = 8 << 10

// An Output keeps the last of what a program writes, to tell why it has failed. It is
// safe for concurrent use.
type Output struct {
	// Program begins the names that the program calls itself by in its messages, such
	// as "qemu-". It may be "".
	Program string

	mu sync.Mutex
	b  []byte
}

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.b = append(o.b, p...)
	o.b = o.b[max(0, len(o.b)-outputMost):]
	return len(p), nil
}

// Why returns the last line in which the program speaks of itself, else its last line, or
// err, which may be nil, when there is none.
func (o *Output) Why(err error) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := strings.TrimSpace(string(bytes.ToValidUTF8(o.b, nil)))
	why := strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
	if why == "" && err != nil {
		return err.Error()
	}
	for line := range strings.Lines(text) {
		if name, said, ok := strings.Cut(line, ": "); ok && o.Program != "" && strings.HasPrefix(name, o.Program) {
			why = strings.TrimSpace(said)
		}
	}
	return why
}

// Ended returns why the program called name has ended that failed with err, as of its
// exec.Cmd's Wait. It returns nil for one that ended well.
func (o *Output) Ended(name string, state *os.ProcessState, err error) error {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return fmt.Errorf("%s was ended by a signal: %s", name, status.Signal())
	}
	if err != nil {
		return fmt.Errorf("%s: %s", name, o.Why(err))
	}
	return nil
}
