package ui

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"bake.build/bake/runtime/event"
)

// TestDemo shows a simulated build on the terminal, to be looked at:
//
//	go test -c -o /tmp/ui.test ./runtime/ui && BAKE_UI_DEMO=tty /tmp/ui.test -test.run TestDemo
func TestDemo(t *testing.T) {
	mode := os.Getenv("BAKE_UI_DEMO")
	if mode == "" {
		t.Skip("needs somebody to look: set BAKE_UI_DEMO to a display's name")
	}
	r, end, err := New(mode, os.Stdout, Options{Dir: "/work"})
	if err != nil {
		t.Fatal(err)
	}
	demo(event.NewStream(r), 40*time.Millisecond)
	if err := end(); err != nil {
		t.Error(err)
	}
}

func demo(s *event.Stream, tick time.Duration) {
	names := []string{"debian bookworm", "apt install nginx-light curl", "copy site/ to /var/www/html", "shell: harden the system\nand more", "golden.raw", "web", "web-minimal", "test: curl -fsS localhost | grep -q hello"}
	node := func(i int) *event.Node {
		return &event.Node{ID: i, Name: names[i], Kind: "shell", Target: "web"}
	}
	begin := time.Now()
	s.Send(event.Event{Type: event.Planned, Total: int64(len(names))})
	s.Send(event.Event{Type: event.Cached, Node: node(0)})
	step := func(i int, work func(tick int) bool) {
		from := time.Now()
		s.Send(event.Event{Type: event.Started, Node: node(i), Text: "no layer yet"})
		for n := 0; work(n); n++ {
			time.Sleep(tick)
		}
		s.Send(event.Event{Type: event.Done, Node: node(i), Elapsed: time.Since(from)})
	}
	print := func(i int, format string, args ...any) {
		s.Send(event.Event{Type: event.Output, Node: node(i), Data: fmt.Appendf(nil, format, args...)})
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		step(1, func(n int) bool {
			print(1, "Get:%d http://deb.debian.org/debian bookworm/main amd64 libnginx-mod-http-echo amd64 1:0.63-4 [%d kB]\n", n, n*37)
			if n == 20 {
				s.Send(event.Event{Type: event.Retry, Node: node(1), Err: errors.New("exit status 100"), Done: 1, Total: 3})
			}
			return n < 60
		})
		step(2, func(n int) bool { return n < 15 })
	})
	wg.Go(func() {
		step(4, func(n int) bool {
			s.Send(event.Event{Type: event.Progress, Node: node(4), Text: "raw", Done: int64(n) << 24, Total: 80 << 24})
			s.Send(event.Event{Type: event.Progress, Node: node(4), Text: "qcow2", Done: int64(n) << 21, Total: 80 << 21})
			return n < 80
		})
	})
	wg.Go(func() {
		step(3, func(n int) bool {
			print(3, "\x1b[31m%d%%\x1b[m 漢字 %s\r", n*2, "\x1b[2J\x1b[H hidden")
			return n < 50
		})
		s.Send(event.Event{Type: event.Warning, Node: node(3), Text: "the host keys of the image are the same on every machine: add debian.clean() at the end"})
	})
	wg.Wait()
	s.Send(event.Event{Type: event.Started, Node: node(7)})
	print(7, "curl: (7) Failed to connect to localhost port 80: Connection refused\n")
	time.Sleep(20 * tick)
	s.Send(event.Event{Type: event.Failed, Node: node(7), Err: errors.New("exit status 7"), Elapsed: 20 * tick})
	s.Send(event.Event{Type: event.Skipped, Node: node(5), Text: "needs test"})
	s.Send(event.Event{Type: event.Skipped, Node: node(6), Text: "needs test"})
	s.Send(event.Event{Type: event.Artifact, Node: node(4), Text: "/work/out/golden.raw", Total: 2 << 30})
	s.Send(event.Event{Type: event.Finished, Elapsed: time.Since(begin)})
}
