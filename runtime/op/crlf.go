package op

import (
	"bytes"
	"errors"
	"path"
	"regexp"
	"slices"
	"strings"
)

// errCRLF is why a program with the line ends of Windows is refused.
var errCRLF = errors.New(`the lines of a program end in CR LF, and Linux takes the CR for a part of them: .replace("\r\n", "\n") or dos2unix makes LF of it`)

// UnixScript returns a script with line ends that its interpreter takes. One
// whose lines all end in CR LF was written on Windows, or was checked out there,
// and gets those of Unix. In a shell script, one such line among others is an
// error: it would change what the line means, and the CR may be meant.
func UnixScript(text string, interpreter []string) (string, error) {
	crlf := strings.Count(text, "\r\n")
	if crlf == 0 {
		return text, nil
	}
	if crlf == strings.Count(text, "\n") {
		return strings.ReplaceAll(text, "\r\n", "\n"), nil
	}
	if c := (&Command{Script: text, Interpreter: interpreter}); isShell(c.interpreter()) {
		return "", errors.New("some lines end in CR LF and some in LF: " + errCRLF.Error())
	}
	return text, nil
}

var shells = []string{"sh", "bash", "dash", "ash", "ksh", "mksh", "zsh"}

// isShell reports whether an interpreter is one of Unix's shells.
func isShell(interpreter []string) bool {
	return slices.ContainsFunc(interpreter, func(word string) bool {
		base, _, _ := strings.Cut(path.Base(word), "\r")
		return slices.Contains(shells, base)
	})
}

// programPlace matches paths whose files are run whatever their mode is.
var programPlace = regexp.MustCompile(`/(s?bin|init\.d|profile\.d|cron\.(d|hourly|daily|weekly|monthly)|if-[a-z-]+\.d|(pre|post)(inst|rm)\.d)/[^/]+$|\.sh$|/rc\.local$`)

// CheckProgram refuses a file that is to be run and that Linux cannot run since
// its first line ends in CR LF. begin is its content or the beginning of it.
func CheckProgram(name string, mode uint32, begin []byte) error {
	line, _, whole := bytes.Cut(begin, []byte("\n"))
	if !whole || !bytes.HasSuffix(line, []byte("\r")) || bytes.IndexByte(line, 0) >= 0 {
		return nil
	}
	if bytes.HasPrefix(line, []byte("#!")) || mode&0o111 != 0 || programPlace.MatchString(name) {
		return errCRLF
	}
	return nil
}
