package module

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"bake.build/bake/internal/lazyregexp"
	"bake.build/bake/starlark/module"
)

// maxPath is how many bytes a path in a tree has at most. What is put before it fits
// into the 1024 of macOS then.
const maxPath = 500

// checkPath says what is wrong with the path of a file in a tree.
func checkPath(p string) error {
	if len(p) > maxPath {
		return fmt.Errorf("path %.40q…: it has more than %d bytes", p, maxPath)
	}
	for name := range strings.SplitSeq(p, "/") {
		if err := checkName(name); err != nil {
			return fmt.Errorf("path %q: %w", p, err)
		}
	}
	return nil
}

// device are the names of devices on Windows, whatever their extension.
var device = lazyregexp.New(`(?i)^(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])[ ]*(\..*)?$`)

// checkName says what is wrong with the name of a file or directory: one that a
// supported system cannot have, or does not tell from another.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("it has an empty element, or begins or ends with a slash")
	case name == "." || name == "..":
		return fmt.Errorf("it leads elsewhere by %q", name)
	case name != module.FileName && strings.EqualFold(name, module.FileName):
		return fmt.Errorf("%q is %q where a system does not tell case", name, module.FileName)
	case len(name) > 255:
		return fmt.Errorf("%.40q… has more than 255 bytes", name)
	case !utf8.ValidString(name):
		return errors.New("it is not UTF-8 text")
	case device.MatchString(name):
		return fmt.Errorf("%q is a device on Windows", name)
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
		return fmt.Errorf("%q ends in a dot or space, which Windows drops", name)
	}
	for _, r := range name {
		switch {
		case strings.ContainsRune(`<>:"|?*\`, r):
			return fmt.Errorf("%q has the character %q, which Windows does not take", name, r)
		case unicode.IsControl(r) || r == utf8.RuneError || unicode.Is(unicode.Cf, r):
			return fmt.Errorf("%q has the character %U, which is not seen", name, r)
		case composes(r):
			return fmt.Errorf("%q has the character %U, which macOS joins with the one before: write them as one", name, r)
		}
	}
	return nil
}

// composes reports whether a name with r may be the same name as another without it,
// to a file system that normalizes: the combining marks and vowels of the scripts that
// Unicode has composed characters for.
func composes(r rune) bool {
	return r >= 0x300 && r <= 0x36f || r == 0x3099 || r == 0x309a || r >= 0x1161 && r <= 0x11c2
}

// fold returns what two names have in common that a file system without case does not
// tell apart.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A' // the least of its kind
		case r < utf8.RuneSelf:
			return r
		}
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, name)
}

// isGit reports whether a path is git's own, by any case: no tree has it.
func isGit(p string) bool {
	for name := range strings.SplitSeq(p, "/") {
		if strings.EqualFold(name, ".git") {
			return true
		}
	}
	return false
}
