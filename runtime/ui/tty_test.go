package ui

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"bake.build/bake/runtime/event"
	"github.com/google/go-cmp/cmp"
)

// A show is a live display on a virtual terminal, with a clock that stands.
type show struct {
	*tty
	vt    *vt
	clock time.Time
}

func newShow(t *testing.T, width, height int, env string) *show {
	s := &show{vt: newVT(t, width, height), clock: time.Unix(1000, 0)}
	s.tty = newTTY(s.vt, Options{
		Dir:    "/work",
		Getenv: func(name string) string { return lookup(env, name) },
		Size:   func() (int, int) { return s.vt.width, s.vt.height },
	})
	s.now = func() time.Time { return s.clock }
	s.begin = s.clock
	close(s.ended) // no frames but those that the test asks for
	return s
}

func lookup(env, name string) string {
	for _, f := range strings.Fields(env) {
		if v, ok := strings.CutPrefix(f, name+"="); ok {
			return v
		}
	}
	return ""
}

func (s *show) send(events ...event.Event) {
	for _, e := range events {
		e.Time = s.clock
		s.Event(e)
	}
}

func (s *show) check(want string) {
	s.vt.t.Helper()
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), s.vt.text()); diff != "" {
		s.vt.t.Errorf("screen (-want +got):\n%s", diff)
	}
}

func node(id int, name string) *event.Node {
	return &event.Node{ID: id, Key: fmt.Sprint("k", id), Name: name, Kind: "shell"}
}

func out(id int, text string) event.Event {
	return event.Event{Type: event.Output, Node: node(id, fmt.Sprint("n", id)), Data: []byte(text)}
}

const utf8Env = "LANG=C.UTF-8"

func TestLiveDisplay(t *testing.T) {
	s := newShow(t, 61, 20, utf8Env)
	s.send(event.Event{Type: event.Planned, Total: 5},
		event.Event{Type: event.Cached, Node: node(0, "debian bookworm")},
		event.Event{Type: event.Started, Node: node(1, "n1")},
		event.Event{Type: event.Started, Node: node(2, "n2")},
		out(1, "one\ntwo\nthr"), out(2, "10%\r20%\r"),
		event.Event{Type: event.Progress, Node: node(2, "n2"), Text: "qcow2", Done: 1 << 20, Total: 4 << 20})
	s.clock = s.clock.Add(1500 * time.Millisecond)
	s.frame()
	s.check(`
• debian bookworm                                     cached
⠴ n1                                                    1.5s
    two
    thr
⠴ n2                                                    1.5s
    qcow2   25%  1.0 MiB of 4.0 MiB
    20%
  1 of 5 steps · 1 cached · 2 running · 2 waiting       1.5s
`)
	s.send(event.Event{Type: event.Done, Node: node(1, "n1"), Elapsed: 90 * time.Second},
		event.Event{Type: event.Waiting, Node: node(3, "n3"), Text: "machines (limit 2)"})
	s.frame()
	s.check(`
• debian bookworm                                     cached
✓ n1                                                   1m30s
⠴ n2                                                    1.5s
    qcow2   25%  1.0 MiB of 4.0 MiB
    20%
  2 of 5 steps · 1 cached · 1 running · 2 waiting       1.5s
`)
	s.send(event.Event{Type: event.Failed, Node: node(2, "n2"), Err: errors.New("exit status 3\nmore"), Elapsed: time.Second},
		event.Event{Type: event.Warning, Text: "mind\x1b[2J this"})
	s.frame()
	s.check(`
• debian bookworm                                     cached
✓ n1                                                   1m30s
✗ n2  exit status 3                                     1.0s
! mind this
⠋ n3  waits for machines (limit 2)                      0.0s
  3 of 5 steps · 1 cached · 1 failed · 2 waiting        1.5s
`)
	s.send(event.Event{Type: event.Skipped, Node: node(3, "n3"), Text: "needs n2"},
		event.Event{Type: event.Canceled, Node: node(4, "n4"), Elapsed: time.Second},
		event.Event{Type: event.Artifact, Node: node(1, "n1"), Text: "/work/out/n1.qcow2", Total: 300 << 20},
		event.Event{Type: event.Finished, Elapsed: 3 * time.Second})
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	s.check(`
• debian bookworm                                     cached
✓ n1                                                   1m30s
✗ n2  exit status 3                                     1.0s
! mind this
– n3                                                 not run
– n4  canceled                                          1.0s
→ out/n1.qcow2                                       300 MiB
5 steps: 1 cached, 1 run, 1 failed, 2 not run in 3.0s
`)
}

func TestNothingToDo(t *testing.T) {
	s := newShow(t, 60, 20, utf8Env+" NO_COLOR=1")
	s.send(event.Event{Type: event.Planned, Total: 1},
		event.Event{Type: event.Cached, Node: node(0, "web")},
		event.Event{Type: event.Artifact, Node: node(0, "web"), Text: "/work/out/web.qcow2", Total: 1 << 30},
		event.Event{Type: event.Finished, Elapsed: 12 * time.Millisecond})
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	s.check(`
• web                                                cached
→ out/web.qcow2                                     1.0 GiB
nothing to do: all is up to date (0.0s)
`)
	if s.vt.writes != 1 {
		t.Errorf("%d writes", s.vt.writes)
	}
}

func TestManyCachedAreCounted(t *testing.T) {
	s := newShow(t, 60, 20, utf8Env)
	s.send(event.Event{Type: event.Planned, Total: 300})
	for i := range 300 {
		s.send(event.Event{Type: event.Cached, Node: node(i, "n")})
	}
	s.frame()
	s.check(`
• 300 steps                                          cached
  ━━━━━━━━━━━━━━━━━━━━ 300 of 300 steps · 300 cached   0.0s
`)
}

// More steps than rows: the area never grows over the screen.
func TestLowTerminal(t *testing.T) {
	s := newShow(t, 40, 6, "LANG=C")
	s.send(event.Event{Type: event.Planned, Total: 9})
	for i := range 9 {
		s.send(event.Event{Type: event.Started, Node: node(i, fmt.Sprint("n", i))}, out(i, "output\n"))
	}
	s.frame()
	s.check(`
| n0                               0.0s
| n1                               0.0s
| n2                               0.0s
  and 6 steps more
  0 of 9 steps - 9 running         0.0s
`)
}

func TestSuspend(t *testing.T) {
	s := newShow(t, 40, 10, utf8Env)
	s.send(event.Event{Type: event.Planned, Total: 1}, event.Event{Type: event.Started, Node: node(0, "n0")})
	s.frame()
	s.Suspend()
	s.check("\n\n")
	fmt.Fprint(s.vt, "# shell\r\n")
	s.send(event.Event{Type: event.Done, Node: node(0, "n0")})
	s.frame()
	s.check("# shell\n")
	s.Resume()
	s.frame()
	s.check(`
# shell
✓ n0                               0.0s
  1 of 1 step                      0.0s
`)
}

func TestTailOfMuchOutput(t *testing.T) {
	s := newShow(t, 40, 10, utf8Env)
	s.send(event.Event{Type: event.Planned, Total: 1}, event.Event{Type: event.Started, Node: node(0, "n0"), Text: "script changed"})
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	s.send(out(0, b.String()), out(0, "li"), out(0, "ne 1000"))
	s.frame()
	s.check(`
⠋ n0  script changed               0.0s
    line 999
    line 1000
  0 of 1 step · 1 running          0.0s
`)
}

// Whatever steps write, how wide names are and however the terminal is resized,
// no line that stays is lost, and the area holds together.
func TestAnySteps(t *testing.T) {
	pieces := []string{"\x1b[2J", "\x1b[10A", "\r", "\n", "\t", "漢字", "é", "\x00", "\x1b]0;title\x07", "\x9b1A", "long " + strings.Repeat("x", 90), "\xff", "\u202e", "👩‍👩‍👧", "plain"}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		s := newShow(t, 20+rng.IntN(80), 5+rng.IntN(20), utf8Env)
		s.send(event.Event{Type: event.Planned, Total: 6})
		var ended []string
		running := map[int]bool{}
		for range 40 {
			id := rng.IntN(6)
			name := fmt.Sprint("n", id, pieces[rng.IntN(len(pieces))])
			n := node(id, name)
			switch {
			case !running[id]:
				running[id] = true
				s.send(event.Event{Type: event.Started, Node: n})
			case rng.IntN(6) == 0:
				delete(running, id)
				ended = append(ended, fmt.Sprint("✓ n", id))
				s.send(event.Event{Type: event.Done, Node: n})
			case rng.IntN(5) == 0:
				s.send(event.Event{Type: event.Progress, Node: n, Text: pieces[rng.IntN(len(pieces))], Done: rng.Int64N(100), Total: rng.Int64N(100)})
			default:
				s.send(out(id, pieces[rng.IntN(len(pieces))]+pieces[rng.IntN(len(pieces))]))
			}
			if rng.IntN(2) == 0 {
				s.clock = s.clock.Add(time.Duration(rng.IntN(3000)) * time.Millisecond)
				s.frame()
			}
		}
		s.frame()
		s.frame()
		rows := strings.Split(strings.TrimSpace(s.vt.text()), "\n")
		if n := strings.Count(s.vt.text(), "of 6 steps"); n > 1 {
			t.Fatalf("%d sums at %d columns:\n%s", n, s.vt.width, s.vt.text())
		}
		for i, want := range ended {
			if i >= len(rows) || !strings.HasPrefix(rows[i], want) {
				t.Fatalf("row %d does not begin with %q:\n%s", i, want, s.vt.text())
			}
		}
	}
}

func TestNarrowerTerminal(t *testing.T) {
	for _, width := range []int{30, 45, 61, 80} {
		s := newShow(t, 61, 20, utf8Env)
		s.send(event.Event{Type: event.Planned, Total: 2},
			event.Event{Type: event.Started, Node: node(0, "a step with a name that is rather long, all in all")},
			event.Event{Type: event.Started, Node: node(1, "b")}, out(1, "some output\nof it\n"))
		s.frame()
		s.vt.resize(width, 20)
		s.frame()
		if n := strings.Count(s.vt.text(), "0 of 2"); n != 1 {
			t.Errorf("at %d columns the area is there %d times:\n%s", width, n, s.vt.text())
		}
	}
}

// TestWaits shows what a node waits for until something else happens.
func TestWaits(t *testing.T) {
	n := &liveNode{}
	now := time.Now()
	shown := func() string {
		var all []string
		for _, line := range n.under(style{}, 9, 80) {
			all = append(all, strings.TrimSpace(line))
		}
		return strings.Join(all, "|")
	}
	n.progress("wait for the port", 0, 0, now)
	n.progress("wait for cloud-init", 0, 0, now)
	if got := shown(); got != "wait for cloud-init" {
		t.Errorf("waiting: %q", got)
	}
	n.progress("disk", 0, 10, now)
	if got := shown(); strings.Contains(got, "wait") || !strings.Contains(got, "disk") {
		t.Errorf("then: %q", got)
	}
}

// TestEndlessTransfer: the row of a download of unknown length goes when the step is
// at something else, and comes back when the download goes on.
func TestEndlessTransfer(t *testing.T) {
	now := time.Now()
	n := &liveNode{}
	n.progress("download packages", 5<<20, 0, now)
	n.endQuiet(now.Add(time.Second))
	if len(n.transfers) != 1 {
		t.Errorf("after a second of output: %d transfers, want 1", len(n.transfers))
	}
	n.endQuiet(now.Add(endlessQuiet))
	if len(n.transfers) != 0 {
		t.Errorf("after %v of output: %d transfers, want none", endlessQuiet, len(n.transfers))
	}
	n.progress("download packages", 6<<20, 0, now.Add(3*time.Second))
	n.progress("disk", 1, 10, now.Add(3*time.Second))
	n.endQuiet(now.Add(9 * time.Second))
	if len(n.transfers) != 1 || n.transfers[0].what != "disk" {
		t.Errorf("transfers %v, want the disk, whose length is known", n.transfers)
	}
}
