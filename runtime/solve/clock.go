package solve

import (
	"sync"
	"time"
)

// A clock calls a function after some time, but for the time in which it is
// paused. A nil clock does nothing. It is safe for concurrent use.
type clock struct {
	mu     sync.Mutex
	timer  *time.Timer
	left   time.Duration // when it was started last
	since  time.Time     // when that was
	pauses int           // that are not over
}

func startClock(d time.Duration, end func()) *clock {
	return &clock{timer: time.AfterFunc(d, end), left: d, since: time.Now()}
}

// pause stops the clock until resume is called.
func (c *clock) pause() (resume func()) {
	if c == nil {
		return func() {}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pauses++; c.pauses == 1 && c.timer.Stop() {
		c.left -= time.Since(c.since)
	}
	return sync.OnceFunc(c.resume)
}

// stop ends the clock: nothing is late any more.
func (c *clock) stop() { _ = c.pause() }

func (c *clock) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pauses--; c.pauses == 0 {
		c.since = time.Now()
		c.timer.Reset(max(c.left, 0))
	}
}
