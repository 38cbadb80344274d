package ebs

import (
	"context"
	"sync"
)

// A gate bounds how many requests are in flight. The bound falls when the
// service asks for less, and rises again slowly.
type gate struct {
	mu      sync.Mutex
	most    int
	limit   float64
	used    int
	changed chan struct{} // closed when one may get in
}

func newGate(most int) *gate {
	return &gate{most: most, limit: float64(most), changed: make(chan struct{})}
}

// enter waits until one more request may be sent.
func (g *gate) enter(ctx context.Context) error {
	for {
		g.mu.Lock()
		if g.used < int(g.limit) {
			g.used++
			g.mu.Unlock()
			return nil
		}
		changed := g.changed
		g.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// leave ends a request.
func (g *gate) leave(throttled bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.used--
	if throttled {
		g.limit = max(1, g.limit*0.7)
	} else {
		g.limit = min(float64(g.most), g.limit+1/g.limit)
	}
	close(g.changed)
	g.changed = make(chan struct{})
}
