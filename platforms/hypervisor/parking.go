package hypervisor

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

// A Parked is a machine that can be parked.
type Parked interface {
	comparable

	// Alive returns why the machine is of no more use, or nil.
	Alive() error

	// End ends the machine, with what it has not committed.
	End() error
}

// A Parking keeps machines that stand on a layer and that nobody uses, for a while: a test
// of the layer, an export, or another branch often comes next. The zero value is one
// without machines. It is safe for concurrent use.
type Parking[M Parked] struct {
	mu       sync.Mutex
	machines map[string]M // by the reference of the layer
	order    []string     // the oldest first
	closed   bool
	errs     []error // of machines that were ended by time
}

// Put parks a machine that stands on the layer ref, and ends the oldest one when there are
// too many.
func (p *Parking[M]) Put(ref string, m M) error {
	p.mu.Lock()
	if _, taken := p.machines[ref]; p.closed || taken {
		p.mu.Unlock()
		return m.End()
	}
	if p.machines == nil {
		p.machines = map[string]M{}
	}
	p.machines[ref] = m
	p.order = append(p.order, ref)
	oldest, full := m, len(p.order) > parkedMost
	if full {
		oldest = p.remove(p.order[0])
	}
	time.AfterFunc(parkedFor, func() {
		p.expire(ref, m)
	})
	p.mu.Unlock()
	if full {
		return oldest.End()
	}
	return nil
}

// remove forgets a machine and returns it. p.mu is held.
func (p *Parking[M]) remove(ref string) M {
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

// Take returns the machine that is parked at ref, or none.
func (p *Parking[M]) Take(ref string) (m M, err error) {
	p.mu.Lock()
	m, ok := p.machines[ref]
	if ok {
		p.remove(ref)
	}
	p.mu.Unlock()
	if ok && m.Alive() != nil {
		var none M
		return none, m.End()
	}
	return m, nil
}

func (p *Parking[M]) expire(ref string, m M) {
	p.mu.Lock()
	if p.machines[ref] != m {
		p.mu.Unlock()
		return
	}
	p.remove(ref)
	p.mu.Unlock()
	if err := m.End(); err != nil {
		p.mu.Lock()
		p.errs = append(p.errs, err)
		p.mu.Unlock()
	}
}

// Close ends all machines, and those that are parked later.
func (p *Parking[M]) Close() error {
	p.mu.Lock()
	p.closed = true
	var all []M
	for _, ref := range append([]string(nil), p.order...) {
		all = append(all, p.remove(ref))
	}
	errs := p.errs
	p.mu.Unlock()
	for _, m := range all {
		errs = append(errs, m.End())
	}
	return errors.Join(errs...)
}
