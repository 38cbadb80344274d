package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAsk asks on a terminal, and nowhere else.
func TestAsk(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()

	var said bytes.Buffer
	suspended := 0
	a := &app{stdin: terminal, stderr: &said}
	ask := a.ask(func() func() { suspended++; return func() { suspended-- } })
	if _, err := master.WriteString("123456\nmore\n"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"123456", "more"} {
		if got, err := ask(t.Context(), "MFA code of ann"); err != nil || got != want {
			t.Errorf("%q, %v", got, err)
		}
	}
	if said.String() != "MFA code of ann: MFA code of ann: " || suspended != 0 {
		t.Errorf("said %q, suspended %d", said.String(), suspended)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the user has enough"))
	if _, err := ask(ctx, "x"); err == nil || err.Error() != "the user has enough" {
		t.Errorf("got %v", err)
	}
	a.stdin = strings.NewReader("123456\n")
	if _, err := a.ask(nil)(t.Context(), "MFA code of ann"); err == nil || !strings.Contains(err.Error(), "MFA code of ann: there is no terminal to ask on") {
		t.Errorf("got %v", err)
	}
}
