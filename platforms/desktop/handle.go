package desktop

import (
	"context"
	"errors"
	"io"
	"sync"

	"bake.build/bake/platforms"
)

// A handle is a machine as one user has it: a machine that is closed may be parked, and
// given to another.
type handle struct {
	*machine

	mu     sync.Mutex
	closed bool
}

var (
	_ platforms.Machine    = (*handle)(nil)
	_ platforms.Rebooter   = (*handle)(nil)
	_ platforms.Sheller    = (*handle)(nil)
	_ platforms.PortWaiter = (*handle)(nil)
	_ platforms.Forwarder  = (*handle)(nil)
	_ platforms.Consoler   = (*handle)(nil)
)

// errClosed is what a closed machine answers.
var errClosed = errors.New("the machine is closed")

// use returns an error unless somebody can work in the machine, and notes that it will
// differ from its layer when something changes it.
func (h *handle) use(changes bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errClosed
	}
	if h.ssh == nil {
		return errors.New("nobody can log in to this machine")
	}
	if changes {
		h.at = ""
	}
	return nil
}

// Run implements platforms.Machine.
func (h *handle) Run(ctx context.Context, c platforms.Cmd) error {
	if err := h.use(true); err != nil {
		return err
	}
	return h.ssh.Run(ctx, c)
}

// Write implements platforms.Machine.
func (h *handle) Write(ctx context.Context, dst string, tar io.Reader) error {
	if err := h.use(true); err != nil {
		return err
	}
	return h.ssh.Write(ctx, dst, tar)
}

// Read implements platforms.Machine.
func (h *handle) Read(ctx context.Context, src string, tar io.Writer) error {
	if err := h.use(false); err != nil {
		return err
	}
	return h.ssh.Read(ctx, src, tar)
}

// Shell implements platforms.Sheller.
func (h *handle) Shell(ctx context.Context, c platforms.Cmd) error {
	if err := h.use(true); err != nil {
		return err
	}
	return h.ssh.Shell(ctx, c)
}

// Reboot implements platforms.Rebooter.
func (h *handle) Reboot(ctx context.Context) error {
	if err := h.use(true); err != nil {
		return err
	}
	return h.ssh.Reboot(ctx)
}

// Commit implements platforms.Machine.
func (h *handle) Commit(ctx context.Context, s platforms.State) (platforms.Made, error) {
	if err := h.use(true); err != nil {
		return platforms.Made{}, err
	}
	made, err := h.commit(ctx, s)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at = made.Ref
	return made, err
}

// Close implements platforms.Machine. A machine that stands on a layer is kept for a
// while, for who asks for one there.
func (h *handle) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	at := h.at
	h.mu.Unlock()
	if at != "" && !h.launched && h.Alive() == nil {
		return h.d.parked.Put(at, h.machine)
	}
	return h.End()
}
