package ui

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"bake.build/bake/runtime/event"
	"golang.org/x/term"
)

// Modes returns the names of the displays, the default first.
func Modes() []string { return []string{"auto", "tty", "plain", "json"} }

// Options say how a display shows things.
type Options struct {
	// Getenv reads the environment; nil means os.Getenv. NO_COLOR turns colours
	// off, TERM=dumb the live display, and a locale without UTF-8 its signs.
	Getenv func(string) string

	// Dir is the directory below which paths are shown relative; "" means none.
	Dir string

	// Size returns the columns and rows of the terminal; nil means to ask it.
	Size func() (width, height int)
}

// A Suspender is a display that can leave the terminal to somebody else.
type Suspender interface {
	// Suspend removes the live area, and nothing is drawn before Resume.
	Suspend()
	Resume()
}

// New returns a display of the mode, one of Modes, that writes to out. Auto is
// tty when out is a terminal that can do it, and otherwise plain. end draws what
// is left and stops the display; it is called once, after the last event, and
// returns the first error of writing to out. The display of a tty is a
// Suspender.
func New(mode string, out io.Writer, o Options) (r event.Reader, end func() error, err error) {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	file, isTerminal := terminal(out)
	switch mode {
	case "auto":
		mode = "plain"
		if isTerminal && o.Getenv("TERM") != "dumb" && enableEscapes(file) == nil {
			mode = "tty"
		}
	case "tty":
		if isTerminal {
			if err := enableEscapes(file); err != nil {
				return nil, nil, fmt.Errorf("progress tty: %w", err)
			}
		} else if o.Size == nil {
			o.Size = func() (int, int) { return 80, 24 }
		}
	}
	if o.Size == nil {
		o.Size = func() (int, int) {
			w, h, err := term.GetSize(int(file.Fd()))
			if err != nil || w <= 0 || h <= 0 {
				return 80, 24
			}
			return w, h
		}
	}
	switch mode {
	case "plain":
		p := newPlain(out, o)
		return p, p.end, nil
	case "json":
		j := newJSON(out)
		return j, j.end, nil
	case "tty":
		t := newTTY(out, o)
		t.run()
		return t, t.end, nil
	}
	return nil, nil, fmt.Errorf("progress %q: want one of %s", mode, strings.Join(Modes(), ", "))
}

func terminal(out io.Writer) (*os.File, bool) {
	f, ok := out.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

// hasUTF8 reports whether the locale can show more than ASCII.
func hasUTF8(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToUpper(getenv(name)); v != "" {
			return strings.Contains(v, "UTF-8") || strings.Contains(v, "UTF8")
		}
	}
	return runtime.GOOS == "darwin" || runtime.GOOS == "windows"
}
