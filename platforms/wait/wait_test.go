package wait_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bake.build/bake/platforms/wait"
)

// TestUntil ends a loop in each way. Time is that of the test's bubble.
func TestUntil(t *testing.T) {
	failed := errors.New("it failed")
	for name, c := range map[string]struct {
		loop  wait.Loop
		looks []error // nil is "not yet"; the last one is repeated; done at the end of the list when that is nil
		want  error
		in    string        // the error
		after time.Duration // at least, and no more than twice that
	}{
		"at once":            {wait.Loop{Backoff: wait.Backoff{Next: time.Second}}, nil, nil, "", 0},
		"after some pauses":  {wait.Loop{Backoff: wait.Backoff{Next: time.Second}}, []error{nil, nil, nil}, nil, "", 4750 * time.Millisecond},
		"bounded pauses":     {wait.Loop{Backoff: wait.Backoff{Next: time.Second, Most: time.Second}}, []error{nil, nil, nil}, nil, "", 3 * time.Second},
		"it fails":           {wait.Loop{What: "image x", Backoff: wait.Backoff{Next: time.Second}}, []error{nil, failed}, failed, "image x: it failed", time.Second},
		"not yet known":      {wait.Loop{Backoff: wait.Backoff{Next: time.Second, Most: time.Second}, Unseen: 2}, []error{wait.ErrNotFound, wait.ErrNotFound, nil}, nil, "", 3 * time.Second},
		"never seen":         {wait.Loop{Backoff: wait.Backoff{Next: time.Second, Most: time.Second}, Unseen: 2}, []error{wait.ErrNotFound, wait.ErrNotFound, wait.ErrNotFound}, wait.ErrGone, "", 2 * time.Second},
		"seen, and then not": {wait.Loop{Backoff: wait.Backoff{Next: time.Second}, Unseen: 9}, []error{nil, wait.ErrNotFound}, wait.ErrGone, "", time.Second},
		"known to be there":  {wait.Loop{What: "layer", Timeout: time.Hour, Backoff: wait.Backoff{Next: time.Second}}, []error{wait.ErrNotFound}, wait.ErrGone, "layer: it does not exist any more", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin, n := time.Now(), 0
				err := c.loop.Until(t.Context(), func(context.Context) (bool, error) {
					n++
					if n > len(c.looks) {
						return true, nil
					}
					return false, c.looks[n-1]
				})
				if !errors.Is(err, c.want) || c.in != "" && !strings.HasPrefix(err.Error(), c.in) {
					t.Errorf("got %v", err)
				}
				if took := time.Since(begin); took != c.after {
					t.Errorf("took %v, want %v", took, c.after)
				}
			})
		})
	}
}

// TestTimeout ends a loop whose looks never end by themselves.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		l := wait.Loop{What: "image x", Timeout: time.Minute, Backoff: wait.Backoff{Next: time.Second}}
		err := l.Until(t.Context(), func(ctx context.Context) (bool, error) {
			<-ctx.Done()
			return false, ctx.Err()
		})
		if !errors.Is(err, wait.ErrTimeout) || !strings.HasPrefix(err.Error(), "image x: timeout: not ready within 1m0s") || time.Since(begin) != time.Minute {
			t.Errorf("got %v after %v", err, time.Since(begin))
		}
	})
}

// TestCancel ends a loop in a pause of an hour, and in a look.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := errors.New("the user pressed ctrl-c")
		for name, look := range map[string]func(context.Context) (bool, error){
			"in a pause": func(context.Context) (bool, error) { return false, nil },
			"in a look":  func(ctx context.Context) (bool, error) { <-ctx.Done(); return false, errors.New("connection closed") },
		} {
			ctx, cancel := context.WithCancelCause(t.Context())
			begin := time.Now()
			time.AfterFunc(time.Minute, func() { cancel(stop) })
			err := wait.Loop{Timeout: 3 * time.Hour, Backoff: wait.Backoff{Next: time.Hour}}.Until(ctx, look)
			if !errors.Is(err, stop) || time.Since(begin) != time.Minute {
				t.Errorf("%s: got %v after %v", name, err, time.Since(begin))
			}
		}
	})
}

// TestBackoff draws pauses.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := wait.Backoff{Next: time.Second, Most: 5 * time.Second, Double: true}
		for _, want := range []time.Duration{1, 2, 4, 5, 5} {
			begin := time.Now()
			if err := b.Wait(t.Context()); err != nil || time.Since(begin) != want*time.Second {
				t.Errorf("paused for %v, want %v s: %v", time.Since(begin), int(want), err)
			}
		}
		b = wait.Backoff{Next: time.Second, Most: time.Second, Jitter: true}
		for range 100 {
			begin := time.Now()
			if err := b.Wait(t.Context()); err != nil || time.Since(begin) < time.Second/2 || time.Since(begin) >= 3*time.Second/2 {
				t.Fatalf("paused for %v: %v", time.Since(begin), err)
			}
		}
		wake := make(chan struct{})
		close(wake)
		begin := time.Now()
		if err := wait.PauseOr(t.Context(), time.Hour, wake); err != nil || time.Since(begin) != 0 {
			t.Errorf("woken after %v: %v", time.Since(begin), err)
		}
	})
}
