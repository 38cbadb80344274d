package wait

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

var (
	// ErrNotFound is what a look returns for something that is not there. See Loop.
	ErrNotFound = errors.New("not found")

	// ErrGone is the end of waiting for something that is not there any more, or that
	// was never seen.
	ErrGone = errors.New("it does not exist any more")

	// ErrTimeout is the end of waiting when the time is up.
	ErrTimeout = errors.New("timeout")
)

// A Loop says what is waited for, and how.
type Loop struct {
	What    string        // begins each error
	Timeout time.Duration // in all; zero for as long as the context lasts
	Backoff Backoff

	// Unseen is how often something may be not found before it counts as gone, as long
	// as it has not been seen: zero where it is known to have been there.
	Unseen int
}

// Until looks until a look returns true or an error. An error that is ErrNotFound goes
// on where Loop.Unseen allows it. The errors of Until are those of a look, ErrGone,
// ErrTimeout and the cause of the context's end, each with What before it.
func (l Loop) Until(ctx context.Context, look func(ctx context.Context) (done bool, err error)) error {
	outer := ctx
	if l.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, l.Timeout, fmt.Errorf("%w: not ready within %v", ErrTimeout, l.Timeout))
		defer cancel()
	}
	unseen, seen, pause := 0, false, l.Backoff
	for {
		done, err := look(ctx)
		switch {
		case outer.Err() != nil && (err != nil || !done):
			return l.failed(context.Cause(outer))
		case errors.Is(err, ErrNotFound):
			if unseen++; seen || unseen > l.Unseen {
				return l.failed(fmt.Errorf("%w: %w", ErrGone, err))
			}
		case err != nil && ctx.Err() != nil:
			return l.failed(fmt.Errorf("%w: %w", context.Cause(ctx), err))
		case err != nil:
			return l.failed(err)
		case done:
			return nil
		default:
			seen = true
		}
		if err := pause.Wait(ctx); err != nil {
			return l.failed(err)
		}
	}
}

func (l Loop) failed(err error) error {
	if l.What == "" {
		return err
	}
	return fmt.Errorf("%s: %w", l.What, err)
}

// A Backoff is a row of growing pauses. Its zero value does not pause.
type Backoff struct {
	Next time.Duration // the next pause
	Most time.Duration // the longest one; zero for no bound

	Double bool // each pause is twice the one before, and not one and a half times
	Jitter bool // each pause is drawn from between half and one and a half of it
}

// Wait pauses, or returns the cause of the context's end.
func (b *Backoff) Wait(ctx context.Context) error { return b.WaitOr(ctx, nil) }

// WaitOr is Wait, which also ends when the channel wake is closed or sent to.
func (b *Backoff) WaitOr(ctx context.Context, wake <-chan struct{}) error {
	pause := b.Next
	if b.Jitter && pause > 0 {
		pause = pause/2 + rand.N(pause)
	}
	if b.Double {
		b.Next *= 2
	} else {
		b.Next = b.Next * 3 / 2
	}
	if b.Most > 0 {
		b.Next = min(b.Next, b.Most)
	}
	return PauseOr(ctx, pause, wake)
}

// Pause waits for a time, or returns the cause of the context's end.
func Pause(ctx context.Context, d time.Duration) error { return PauseOr(ctx, d, nil) }

// PauseOr is Pause, which also ends when the channel wake is closed or sent to.
func PauseOr(ctx context.Context, d time.Duration, wake <-chan struct{}) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-wake:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
