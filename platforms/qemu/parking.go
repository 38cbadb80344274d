package qemu

import (
	"errors"
	"sync"
	"time"
)

// Bounds of what is parked.
const (
	parkedMost = 2
	parkedFor  = time.Minute
)

// A parking keeps machines that stand on a layer and that nobody uses, for a
// while: a test of the layer, an export, or another branch often comes next.
type parking struct {
	mu       sync.Mutex
	machines map[string]*machine // by the reference of the layer
	order    []string            // the oldest first
	closed   bool
	errs     []error // of machines that were ended by time
}

// put parks m, and ends the oldest machine when there are too many.
func (p *parking) put(ref string, m *machine) error {
	p.mu.Lock()
	if p.closed || p.machines[ref] != nil {
		p.mu.Unlock()
		return m.end()
	}
	p.machines[ref] = m
	p.order = append(p.order, ref)
	var oldest *machine
	if len(p.order) > parkedMost {
		oldest = p.remove(p.order[0])
	}
	time.AfterFunc(parkedFor, func() {
		p.expire(ref, m)
	})
	p.mu.Unlock()
	if oldest != nil {
		return oldest.end()
	}
	return nil
}

// remove forgets a machine and returns it. p.mu is held.
func (p *parking) remove(ref string) *machine {
	m := p.machines[ref]
	delete(p.machines, ref)
	for i, r := range p.order {
		if r == ref {
			p.order = append(p.order[:i:i], p.order[i+1:]...)
			break
		}
	}
	return m
}

// take returns the machine that is parked at ref, or nil.
func (p *parking) take(ref string) (*machine, error) {
	p.mu.Lock()
	m := p.machines[ref]
	if m != nil {
		p.remove(ref)
	}
	p.mu.Unlock()
	if m != nil && m.vm.Alive() != nil {
		return nil, m.end()
	}
	return m, nil
}

func (p *parking) expire(ref string, m *machine) {
	p.mu.Lock()
	if p.machines[ref] != m {
		p.mu.Unlock()
		return
	}
	p.remove(ref)
	p.mu.Unlock()
	if err := m.end(); err != nil {
		p.mu.Lock()
		p.errs = append(p.errs, err)
		p.mu.Unlock()
	}
}

// close ends all machines.
func (p *parking) close() error {
	p.mu.Lock()
	p.closed = true
	var all []*machine
	for _, ref := range append([]string(nil), p.order...) {
		all = append(all, p.remove(ref))
	}
	errs := p.errs
	p.mu.Unlock()
	for _, m := range all {
		errs = append(errs, m.end())
	}
	return errors.Join(errs...)
}
