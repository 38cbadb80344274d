package desktop

import (
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"bake.build/bake/platforms/console"
)

// followConsole reads what a hypervisor writes to the file at path, from its beginning
// on. log, if not "", is a new file that takes it as well. fail is told of a kernel's
// panic.
func followConsole(path, log string, fail func(error)) (*console.Console, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	var to *os.File
	if log != "" {
		if to, err = os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return console.New(&follower{path: path, f: f, done: make(chan struct{})}, to, fail), nil
}

// followPause is the time between two looks at a file that has no more.
const followPause = 200 * time.Millisecond

// A follower reads a file that grows. Hypervisors write it anew at each start of the
// machine.
type follower struct {
	path string
	done chan struct{} // closed when no more is read
	end  sync.Once

	mu sync.Mutex
	f  *os.File
	at int64
}

// Read implements io.Reader. It waits for more until Close.
func (r *follower) Read(p []byte) (int, error) {
	for {
		n, err := r.next(p)
		if n > 0 || err != nil {
			return n, err
		}
		select {
		case <-r.done:
			return 0, io.EOF
		case <-time.After(followPause):
		}
	}
}

func (r *follower) next(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, err := r.f.ReadAt(p, r.at)
	if r.at += int64(n); n > 0 {
		return n, nil
	}
	if !errors.Is(err, io.EOF) {
		return 0, err
	}
	return 0, r.reopen()
}

// reopen begins with the file that is at the path now, where it is another or shorter.
func (r *follower) reopen() error {
	now, err := os.Stat(r.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // it is about to be written
	} else if err != nil {
		return err
	}
	old, err := r.f.Stat()
	if err != nil {
		return err
	}
	if os.SameFile(now, old) {
		if now.Size() < r.at {
			r.at = 0
		}
		return nil
	}
	f, err := os.Open(r.path)
	if err != nil {
		return err
	}
	err = r.f.Close()
	r.f, r.at = f, 0
	return err
}

// Write implements io.Writer.
func (r *follower) Write([]byte) (int, error) {
	return 0, errors.New("the console of this machine takes no input")
}

// Close implements io.Closer.
func (r *follower) Close() (err error) {
	r.end.Do(func() {
		close(r.done)
		r.mu.Lock()
		defer r.mu.Unlock()
		err = r.f.Close()
	})
	return err
}

// tailText shows the last lines of a console in an error.
func (m *machine) tailText() string {
	if m.console == nil {
		return ""
	}
	lines := m.console.Tail()
	if len(lines) == 0 {
		return ""
	}
	return "\nthe console's last lines:\n  " + strings.Join(lines, "\n  ")
}
