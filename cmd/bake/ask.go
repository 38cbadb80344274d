package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// ask returns what asks the user, one question at a time. suspend, if not nil, takes
// a live display off the terminal until what it returns is called.
func (a *app) ask(suspend func() (resume func())) func(ctx context.Context, question string) (string, error) {
	var turn sync.Mutex
	return func(ctx context.Context, question string) (string, error) {
		in, ok := a.stdin.(*os.File)
		if !ok || !term.IsTerminal(int(in.Fd())) {
			return "", fmt.Errorf("%s: there is no terminal to ask on", question)
		}
		turn.Lock()
		defer turn.Unlock()
		if suspend != nil {
			defer suspend()()
		}
		fmt.Fprintf(a.stderr, "%s: ", question)
		type line struct {
			text string
			err  error
		}
		got := make(chan line, 1)
		go func() {
			text, err := readLine(in)
			got <- line{text, err}
		}()
		select {
		case l := <-got:
			return l.text, l.err
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// readLine reads up to the end of a line, and nothing of what comes after it.
func readLine(in io.Reader) (string, error) {
	var text []byte
	for b := make([]byte, 1); ; {
		n, err := in.Read(b)
		switch {
		case n == 1 && b[0] != '\n':
			text = append(text, b[0])
			continue
		case n == 0 && errors.Is(err, io.EOF) && len(text) == 0:
			return "", errors.New("the terminal was closed")
		case n == 0 && err != nil && !errors.Is(err, io.EOF):
			return "", err
		}
		return strings.TrimSpace(string(text)), nil
	}
}
