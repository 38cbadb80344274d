package ui

import (
	"os"

	"golang.org/x/sys/windows"
)

// enableEscapes makes the console interpret escape sequences.
func enableEscapes(f *os.File) error {
	h := windows.Handle(f.Fd())
	var mode uint32
	if err := windows.GetConsoleMode(h, &mode); err != nil {
		return err
	}
	return windows.SetConsoleMode(h, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING)
}
