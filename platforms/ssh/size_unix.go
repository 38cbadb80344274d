//go:build unix

package ssh

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

// watchSize calls resize when the terminal's size changes, until stop.
func watchSize(in *os.File, resize func(height, width int) error) (stop func()) {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	go func() {
		for range changed {
			if width, height, err := term.GetSize(int(in.Fd())); err == nil {
				_ = resize(height, width) // the session may just have ended
			}
		}
	}()
	return func() {
		signal.Stop(changed)
		close(changed)
	}
}
