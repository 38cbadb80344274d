package console

import (
	"context"
	"errors"
	"net"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestConsole reads a port: its last lines, a line that is waited for, a panic, and
// the end of the machine.
func TestConsole(t *testing.T) {
	theirs, ours := net.Pipe()
	panics := make(chan error, 1)
	c := New(ours, nil, func(err error) { panics <- err })
	waited := make(chan error, 1)
	go func() { waited <- c.Wait(t.Context(), regexp.MustCompile("^login:$")) }()
	for _, text := range []string{"\x1b[1mboot", "ing\r\n", "log", "in:\r\n", "Kernel panic - not syncing: no init\r\n"} {
		if _, err := theirs.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-waited; err != nil {
		t.Errorf("Wait: %v", err)
	}
	if err := <-panics; !strings.Contains(err.Error(), "no init") {
		t.Errorf("the panic is %v", err)
	}
	if got, want := c.Tail(), []string{"booting", "login:", "Kernel panic - not syncing: no init"}; !reflect.DeepEqual(got, want) {
		t.Errorf("Tail: %q, want %q", got, want)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := c.Wait(ctx, regexp.MustCompile("never")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait for nothing: %v", err)
	}
	if err := theirs.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(t.Context(), regexp.MustCompile("never")); err == nil || !strings.Contains(err.Error(), "stopped") {
		t.Errorf("Wait after the end: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
