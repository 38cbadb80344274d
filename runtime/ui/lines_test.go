package ui

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"bake.build/bake/internal/printable"
	"bake.build/bake/runtime/event"
	"github.com/google/go-cmp/cmp"
)

func TestPlain(t *testing.T) {
	var b bytes.Buffer
	r, end, err := New("plain", &b, Options{Dir: "/work"})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	progress := func(after time.Duration, done int64) event.Event {
		return event.Event{Time: at.Add(after), Type: event.Progress, Node: node(2, "install"), Text: "raw", Done: done, Total: 4096}
	}
	for _, e := range []event.Event{
		{Type: event.Planned, Total: 6},
		{Type: event.Cached, Node: node(0, "debian bookworm")},
		{Type: event.Waiting, Node: node(1, "install"), Text: "another build that makes this layer"},
		{Type: event.Started, Node: node(1, "install"), Text: "no layer yet"},
		{Type: event.Started, Node: node(2, "install")},
		{Type: event.Waiting, Node: node(3, "long"), Text: "machines (limit 2)"},
		{Type: event.Output, Node: node(1, "install"), Data: []byte("one\ntw")},
		{Type: event.Output, Node: node(2, "install"), Data: []byte("10%\r\x1b[1m100%\x1b[m\r\nlast")},
		{Type: event.Output, Node: node(1, "install"), Data: []byte("o\n")},
		progress(0, 0), progress(time.Second, 1), progress(11*time.Second, 2048), progress(12*time.Second, 4096),
		{Type: event.Retry, Node: node(1, "install"), Err: errors.New("exit status 1"), Done: 1, Total: 3},
		{Type: event.Failed, Node: node(2, "install"), Err: errors.New("exit status 2"), Elapsed: time.Second},
		{Type: event.Done, Node: node(1, "install"), Elapsed: 2 * time.Minute},
		{Type: event.Skipped, Node: node(3, strings.Repeat("long ", 20)), Text: "needs install, which failed"},
		{Type: event.Canceled, Node: node(4, "x"), Elapsed: time.Second},
		{Type: event.Warning, Text: "a\nwarning"},
		{Type: event.Artifact, Node: node(1, "install"), Text: "/work/out/web.qcow2", Total: 1536},
		{Type: event.Artifact, Node: node(5, "twin"), Text: "/work/out/web.qcow2", Total: 1536},
		{Type: event.Finished, Elapsed: 3 * time.Second},
	} {
		if e.Time.IsZero() {
			e.Time = at
		}
		r.Event(e)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	want := `03:04:05 debian bookworm | cached
03:04:05 install | waits for another build that makes this layer
03:04:05 install | started (step 2 of 6): no layer yet
03:04:05 install #2 | started (step 3 of 6)
03:04:05 install | one
03:04:05 install #2 | 100%
03:04:05 install | two
03:04:16 install #2 | raw: 2.0 KiB of 4.0 KiB
03:04:17 install #2 | raw: 4.0 KiB of 4.0 KiB
03:04:05 install | try 1 of 3 failed: exit status 1
03:04:05 install #2 | last
03:04:05 install #2 | failed after 1.0s: exit status 2
03:04:05 install | done in 2m00s
03:04:05 long | not run: needs install, which failed
03:04:05 x | canceled after 1.0s
03:04:05 warning: a warning
out/web.qcow2 (1.5 KiB)
5 steps: 1 cached, 1 run, 1 failed, 2 not run in 3.0s
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	r, end, err := New("json", &b, Options{})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	n := &event.Node{ID: 1, Key: "ab", Name: "<install>", Kind: "shell", Pos: "images.star:1:2"}
	for _, e := range []event.Event{
		{Time: at, Type: event.Planned, Total: 2},
		{Time: at, Type: event.Output, Node: n, Data: []byte("caf\xc3")},
		{Time: at, Type: event.Output, Node: n, Data: []byte("\xa9\n\xff\xe2\x82")},
		{Time: at, Type: event.Failed, Node: n, Err: errors.New("exit status 2"), Elapsed: 1500 * time.Millisecond},
	} {
		r.Event(e)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	const nodeJSON = `"node":{"id":1,"key":"ab","name":"<install>","kind":"shell","pos":"images.star:1:2"}`
	want := `{"time":"2026-01-02T03:04:05Z","type":"planned","total":2}
{"time":"2026-01-02T03:04:05Z","type":"output",` + nodeJSON + `,"data":"caf"}
{"time":"2026-01-02T03:04:05Z","type":"output",` + nodeJSON + `,"data":"é\n` + "\uFFFD" + `"}
{"time":"2026-01-02T03:04:05Z","type":"output",` + nodeJSON + `,"data":"` + "\uFFFD" + `"}
{"time":"2026-01-02T03:04:05Z","type":"failed",` + nodeJSON + `,"error":"exit status 2","elapsed":1.5}
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for line := range strings.Lines(b.String()) {
		var l Line
		if err := json.Unmarshal([]byte(line), &l); err != nil || l.Type == "" {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestUnknownMode(t *testing.T) {
	if _, _, err := New("fancy", &bytes.Buffer{}, Options{}); err == nil {
		t.Error("no error")
	}
	for _, mode := range Modes() {
		_, end, err := New(mode, &bytes.Buffer{}, Options{})
		if err != nil {
			t.Errorf("%s: %v", mode, err)
			continue
		}
		if err := end(); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestErrorOfTheOutputIsTold(t *testing.T) {
	for _, mode := range []string{"tty", "plain", "json"} {
		r, end, err := New(mode, full{}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		r.Event(event.Event{Type: event.Warning, Text: "w"})
		if err := end(); err == nil {
			t.Errorf("%s: no error", mode)
		}
	}
}

func TestUnits(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0.0s", 1234 * time.Millisecond: "1.2s", 59990 * time.Millisecond: "1m00s", 125 * time.Second: "2m05s",
		59*time.Minute + 59900*time.Millisecond: "1h00m", 90 * time.Minute: "1h30m",
	} {
		if got := took(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1048575: "1.0 MiB", 300 << 20: "300 MiB", 3 << 40: "3.0 TiB", 5 << 50: "5 PiB"} {
		if got := Size(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}

// FuzzClean holds that no output of a step reaches the terminal as a control.
func FuzzClean(f *testing.F) {
	for _, s := range []string{"plain", "\x1b[31mred\x1b[m", "\x1b]0;t\x07x", "a\tb", "\x1b", "\x1b[", "\x1bPq\x1b\\", "\u009b2J", "é漢\xff\u202e"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, r := range printable.Line(b) {
			if r < ' ' || (r >= 0x7f && r < 0xa0) || (r >= 0x202a && r <= 0x202e) {
				t.Fatalf("%q becomes %q", b, printable.Line(b))
			}
		}
		var l lines
		l.write(b, func(line string) {
			if strings.ContainsAny(line, "\r\n\x1b") {
				t.Fatalf("%q gives the line %q", b, line)
			}
		})
	})
}

// Nodes of one key are one step to the user.
func TestIdenticalNodesCountOnce(t *testing.T) {
	var y tally
	twin := *node(1, "twin")
	twin.Key = node(0, "first").Key
	for _, e := range []event.Event{
		{Type: event.Planned, Total: 2},
		{Type: event.Done, Node: node(0, "first")},
		{Type: event.Cached, Node: &twin, Text: "same as first"},
		{Type: event.Done, Node: node(2, "other")},
		{Type: event.Finished, Elapsed: time.Second},
	} {
		y.event(e)
	}
	if got := y.verdict(); got != "2 steps: 2 run in 1.0s" {
		t.Errorf("got %q", got)
	}
}

// TestRunAgain counts a step once that runs again: as it ended last.
func TestRunAgain(t *testing.T) {
	var out bytes.Buffer
	r, end, err := New("plain", &out, Options{})
	if err != nil {
		t.Fatal(err)
	}
	first, next := &event.Node{ID: 1, Key: "a", Name: "first"}, &event.Node{ID: 2, Key: "b", Name: "next"}
	for _, e := range []event.Event{
		{Type: event.Planned, Total: 2},
		{Type: event.Started, Node: first},
		{Type: event.Done, Node: first},
		{Type: event.Started, Node: next},
		{Type: event.Retry, Node: next, Done: 1, Total: 2},
		{Type: event.Started, Node: first, Text: "its layer was not kept"},
		{Type: event.Failed, Node: first, Err: errors.New("exit status 1")},
		{Type: event.Canceled, Node: next},
		{Type: event.Finished},
	} {
		r.Event(e)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"first | started again: its layer was not kept\n", "next | started (step 2 of 2)\n", "2 steps: 1 failed, 1 not run"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}
