// Package resource is the life of what a driver makes outside of this host: it is
// recorded in the ledger, asked for, and handed over or removed.
//
// A Record is begun before the request. A request that was refused has made nothing,
// and its record is forgotten. One whose answer is lost may have made something, an
// Unclear error: that is looked for, and removed; where it is not seen, which may be
// because the platform does not know of it yet, the record stays for the garbage
// collector. So it is wherever this process is killed: between Begin and the end of a
// record there is no moment in which something is there and nobody knows.
package resource

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/wait"
)

// A Record is the ledger's record of one resource.
type Record struct {
	manager  *Manager
	resource platforms.Resource
	forget   func() error
}

// Forget ends the record of what is gone, or was handed over to somebody else's care.
func (r *Record) Forget() error { return r.forget() }

// With makes the record of something that comes with the resource end when this one
// does.
func (r *Record) With(other *Record) *Record {
	return &Record{manager: r.manager, resource: r.resource, forget: func() error { return errors.Join(r.forget(), other.forget()) }}
}

// Remove removes the resource and ends its record, which stays if remove fails.
func (r *Record) Remove(ctx context.Context, remove func(ctx context.Context) error) error {
	if err := remove(ctx); err != nil {
		return err
	}
	return r.forget()
}

// An unclear error leaves it open whether something was made.
type unclear struct{ error }

func (u unclear) Unwrap() error { return u.error }

// Unclear marks the failure of a request that may have made something all the same,
// such as one whose answer was lost. Of any other failure it is held that nothing was
// made.
func Unclear(err error) error {
	if err == nil {
		return nil
	}
	return unclear{err}
}

// IsUnclear reports whether an error leaves it open whether something was made.
func IsUnclear(err error) bool {
	u := unclear{}
	return errors.As(err, &u)
}

// How long is looked for what an unclear request may have made, and how often. A user
// who has interrupted the build waits.
const (
	lookTime         = time.Minute
	looks            = 4
	looksInterrupted = 2
)

// Failed ends the record of a request that has failed, and returns that failure with
// those of doing so.
func (r *Record) Failed(ctx context.Context, failure error) error {
	if !IsUnclear(failure) {
		return errors.Join(failure, r.forget())
	}
	return errors.Join(failure, r.Look(ctx))
}

// Look looks for what may have been made, and removes it. Where it is not seen the
// record stays. What somebody else has taken over is not this build's any more. A
// context that has ended does not keep it from that.
func (r *Record) Look(ctx context.Context) error {
	times := looks
	if ctx.Err() != nil {
		times = looksInterrupted
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTime)
	defer cancel()
	pause := wait.Backoff{Next: r.manager.pause(), Double: true}
	for n := range times {
		got, err := r.manager.Collect(ctx, r.resource)
		if err != nil {
			return err
		}
		if got.Removed || got.Kept != "" {
			return r.forget()
		}
		if n+1 < times && pause.Wait(ctx) != nil {
			return nil
		}
	}
	return nil
}

// Make records a resource as Manager.Begin does, asks for it and returns it with its
// record. A failure of ask ends the record: see Failed.
func Make[T any](ctx context.Context, m *Manager, kind, place, id string, ask func(ctx context.Context) (T, error)) (made T, record *Record, err error) {
	if record, err = m.Begin(ctx, kind, place, id); err != nil {
		return made, nil, err
	}
	if made, err = ask(ctx); err != nil {
		var none T
		return none, nil, record.Failed(ctx, err)
	}
	return made, record, nil
}

// A Stack holds what was made for a while, to be removed in the opposite order. It is
// safe for concurrent use.
type Stack struct {
	mu      sync.Mutex
	removes []func(ctx context.Context) error
}

// Push adds what removes something: the resource of a record, if that is not nil.
func (s *Stack) Push(record *Record, remove func(ctx context.Context) error) {
	if record != nil {
		only := remove
		remove = func(ctx context.Context) error { return record.Remove(ctx, only) }
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removes = append(s.removes, remove)
}

// Close removes all, the last first. One failure keeps no other from being removed.
func (s *Stack) Close(ctx context.Context) error {
	s.mu.Lock()
	removes := s.removes
	s.removes = nil
	s.mu.Unlock()
	var errs []error
	for _, remove := range slices.Backward(removes) {
		errs = append(errs, remove(ctx))
	}
	return errors.Join(errs...)
}
