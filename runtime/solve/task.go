package solve

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/layers"
	"bake.build/bake/runtime/plan"
)

// A task is one unit while it runs.
type task struct {
	r         *run
	u         *unit
	out       *logger
	begin     time.Time
	started   bool
	again     bool          // it has run before, and its layer was not kept
	elsewhere bool          // another process has made the layer or passed the test
	failed    bool          // the failure is the unit's own, not that of a stopped build
	took      time.Duration // until the failure, without what the user did then
	kept      plan.Key      // the layer that holds the state at the failure
	clock     *clock        // of the running try; nil without a timeout
}

func (r *run) newTask(u *unit) *task {
	return &task{r: r, u: u, out: newLogger(r.c.Events, r.node(u.node()), r.masker, r.c.LogDir), begin: time.Now()}
}

// do runs f for u and tells how it ended. The caller hands u.end to finish.
func (r *run) do(u *unit, f func(t *task) error) (ok bool) {
	t := r.newTask(u)
	u.end = t.tell(protect(func() error { return f(t) }))
	u.elsewhere = t.elsewhere
	return u.end == Done
}

// tell tells how the unit has ended: with err, if that is not nil.
func (t *task) tell(err error) State {
	elapsed := time.Since(t.begin)
	if t.failed {
		elapsed = t.took
	}
	why := ""
	if lost := (*againError)(nil); errors.As(err, &lost) {
		why = lost.Error()
	} else if err != nil && !t.failed && t.r.ctx.Err() != nil {
		why = t.r.whyStopped()
	}
	switch {
	case err != nil && why == "":
		t.start()
		e := t.out.failure(err)
		e.Node, e.Kept = t.u.node(), t.kept
		t.sendAll(event.Event{Type: event.Failed, Err: e.Err, Elapsed: elapsed})
		if t.again {
			t.r.mu.Lock()
			t.u.state = Failed
			t.r.mu.Unlock()
		}
		t.r.fail(e)
		return Failed
	case err != nil && t.started:
		t.out.close()
		t.sendAll(event.Event{Type: event.Canceled, Text: why, Elapsed: elapsed})
		return Canceled
	case err != nil:
		t.out.close()
		t.sendAll(event.Event{Type: event.Skipped, Text: why})
		return Skipped
	}
	t.out.close()
	if t.elsewhere {
		t.sendAll(event.Event{Type: event.Cached, Text: "made by another build"})
		return Done
	}
	t.r.sendFiles(t.u)
	t.sendAll(event.Event{Type: event.Done, Elapsed: elapsed})
	return Done
}

// sendAll sends e to the nodes of the unit. Those that are identical to the one that
// runs again were told how it ended before.
func (t *task) sendAll(e event.Event) {
	if t.again {
		t.send(e)
		return
	}
	t.r.sendAll(t.u, e)
}

// start tells once that the unit runs.
func (t *task) start() {
	if !t.started {
		t.started, t.begin = true, time.Now()
		why := t.u.why
		if t.again {
			why = "its layer was not kept"
		}
		t.send(event.Event{Type: event.Started, Text: why})
	}
}

func (t *task) send(e event.Event) {
	e.Node = t.r.node(t.u.node())
	t.r.c.Events.Send(e)
}

func (t *task) env() plan.Env {
	return plan.Env{Out: t.out, Secrets: t.r.secrets.get, TempDir: t.r.c.TempDir, Trust: t.r.trust(t.u.node()), Waiting: t.wait}
}

// wait tells that the unit waits for what, and stops the clock of its timeout
// until that is over.
func (t *task) wait(what string) (over func()) {
	fmt.Fprintf(t.out, "waiting for %s\n", what)
	return t.clock.pause()
}

// tries calls prepare and apply until they succeed or the node's retries are
// used up. c is the machine that a failed try leaves unusable; it may be nil.
func (t *task) tries(c *chain, prepare func() error, apply func(ctx context.Context) error) error {
	opts := t.u.node().Run
	for i := 1; ; i++ {
		err := protect(prepare)
		if err == nil {
			err = t.once(c, opts.Timeout, apply)
		}
		if err == nil || t.r.ctx.Err() != nil {
			return err
		}
		if lost := (*againError)(nil); errors.As(err, &lost) {
			return err // it has had its own tries
		}
		bug := (*PanicError)(nil)
		if i > opts.Retries || errors.As(err, &bug) {
			t.failed, t.took = true, time.Since(t.begin)
			t.afterFailure(c, err)
			return err
		}
		t.send(event.Event{Type: event.Retry, Err: t.r.masker.Error(err), Done: int64(i), Total: int64(opts.Retries + 1)})
		if c != nil {
			c.drop()
		}
	}
}

// once calls apply with the timeout of one try.
func (t *task) once(c *chain, timeout time.Duration, apply func(ctx context.Context) error) error {
	ctx := t.r.ctx
	late := errors.New("timed out after " + short(timeout))
	if timeout > 0 {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		defer cancel(nil)
		t.clock = startClock(timeout, func() { cancel(late) })
		defer t.clock.stop()
	}
	if c != nil {
		done, ended := make(chan struct{}), make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			defer close(ended)
			timer := time.NewTimer(t.r.c.gracePeriod())
			defer timer.Stop()
			select {
			case <-done:
			case <-timer.C:
				c.kill()
			}
		})
		defer func() {
			close(done)
			if !stop() {
				<-ended
			}
		}()
	}
	err := protect(func() error { return apply(ctx) })
	if err != nil && context.Cause(ctx) == late {
		return late
	}
	return err
}

// afterFailure does what the user asked for with the machine in which the unit
// failed. Unless the run keeps going, the other units are stopped before.
func (t *task) afterFailure(c *chain, failure error) {
	if !t.r.c.KeepGoing {
		t.r.cancel(errFailed)
	}
	if c == nil || c.m == nil || c.killed {
		return
	}
	ctx, n := t.r.parent, t.u.node()
	switch t.r.c.OnError {
	case Keep:
		if err := protect(func() error { return t.keep(ctx, c) }); err != nil {
			t.r.warn(n, "keep the machine of %s: %v", n.Name, err)
		}
	case Shell:
		if t.r.c.Shell == nil {
			return
		}
		t.r.shells.Lock()
		defer t.r.shells.Unlock()
		err := protect(func() error { return t.r.c.Shell(ctx, n, c.m, t.r.masker.Error(failure)) })
		if err != nil {
			t.r.warn(n, "open a shell in the machine of %s: %v", n.Name, err)
		}
	}
}

// keep commits the state of the machine as a layer of its own.
func (t *task) keep(ctx context.Context, c *chain) error {
	n := t.u.node()
	base := parent(n)
	if base == nil {
		var err error
		if base, err = layerOf(n); err != nil {
			return err
		}
	}
	_, p, err := t.r.driver(n)
	if err != nil {
		return err
	}
	l := layers.Spec{Kind: "failed " + n.Op.Kind(), Name: n.Name, Platform: p, Parent: t.r.sched.ids[base].key}
	preimage := t.u.id.preimage
	l.Preimage = append(preimage[:len(preimage):len(preimage)], plan.Field{Name: "failed", Value: nonce()})
	l.Key = l.Preimage.Key()
	_, _, err = t.r.c.Layers.Make(ctx, l, nil, func(dir string) (m platforms.Made, err error) {
		defer catch(&err)
		return c.m.Commit(ctx, platforms.State{Key: l.Key.String(), Name: "failed: " + n.Name, Dir: dir, Needed: true})
	})
	if err != nil {
		return err
	}
	t.kept = l.Key
	return nil
}

func (r *run) warn(n *plan.Node, format string, args ...any) {
	e := event.Event{Type: event.Warning, Text: r.masker.String(fmt.Sprintf(format, args...))}
	if n != nil {
		e.Node = r.node(n)
	}
	r.c.Events.Send(e)
}

// protect calls f and returns a panic of it as an error.
func protect(f func() error) (err error) {
	defer catch(&err)
	return f()
}

// catch is deferred to turn a panic into *err.
func catch(err *error) {
	if v := recover(); v != nil {
		*err = &PanicError{Value: fmt.Sprint(v), Stack: debug.Stack()}
	}
}

// short writes a duration as users do: "90s", "5m", "1h30m".
func short(d time.Duration) string {
	if d%time.Second == 0 && d < 2*time.Minute {
		return fmt.Sprintf("%ds", d/time.Second)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

var _ platforms.Logger = (*logger)(nil)
