package qemu

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
)

// A stroke is what is typed at once, or a pause.
type stroke struct {
	keys  []string      // pressed together, as QEMU names them (QKeyCode)
	hold  hold          // what becomes of them
	pause time.Duration // instead of keys
}

// A hold says what becomes of keys: they are pressed and released, or stay down
// until they are let go.
type hold int

const (
	press hold = iota
	down
	up
)

// named are the keys that have no letter.
var named = map[string]string{
	"enter": "ret", "return": "ret", "esc": "esc", "tab": "tab", "spacebar": "spc", "space": "spc", "bs": "backspace",
	"backspace": "backspace", "del": "delete", "insert": "insert", "home": "home", "end": "end", "pageup": "pgup", "pagedown": "pgdn",
	"up": "up", "down": "down", "left": "left", "right": "right", "menu": "menu",
	"f1": "f1", "f2": "f2", "f3": "f3", "f4": "f4", "f5": "f5", "f6": "f6", "f7": "f7", "f8": "f8", "f9": "f9", "f10": "f10", "f11": "f11", "f12": "f12",
	"leftctrl": "ctrl", "rightctrl": "ctrl_r", "leftalt": "alt", "rightalt": "alt_r", "leftshift": "shift", "rightshift": "shift_r",
	"leftsuper": "meta_l", "rightsuper": "meta_r",
}

// unshifted are the keys of letters on a US keyboard, and shifted those that
// take the shift key.
var (
	unshifted = map[rune]string{
		' ': "spc", '\n': "ret", '\t': "tab", '-': "minus", '=': "equal", '[': "bracket_left", ']': "bracket_right", '\\': "backslash",
		';': "semicolon", '\'': "apostrophe", '`': "grave_accent", ',': "comma", '.': "dot", '/': "slash",
	}
	shifted = map[rune]string{
		'!': "1", '@': "2", '#': "3", '$': "4", '%': "5", '^': "6", '&': "7", '*': "8", '(': "9", ')': "0", '_': "minus", '+': "equal",
		'{': "bracket_left", '}': "bracket_right", '|': "backslash", ':': "semicolon", '"': "apostrophe", '~': "grave_accent",
		'<': "comma", '>': "dot", '?': "slash",
	}
)

// parseKeys reads what boot_command says. http is what <http> stands for.
func parseKeys(lines []string, http string) ([]stroke, error) {
	var all []stroke
	for i, line := range lines {
		strokes, err := parseLine(line, http)
		if err != nil {
			return nil, fmt.Errorf("option boot_command: string %d: %w", i+1, err)
		}
		all = append(all, strokes...)
	}
	return all, checkHeld(all)
}

// checkHeld refuses keys that stay down at the end: the guest would see them
// held for as long as it runs.
func checkHeld(strokes []stroke) error {
	var held []string
	for _, s := range strokes {
		for _, k := range s.keys {
			held = slices.DeleteFunc(held, func(other string) bool { return other == k })
			if s.hold == down {
				held = append(held, k)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		if slices.Contains(held, named[name]) {
			return fmt.Errorf("option boot_command: <%[1]sOn> is not let go: write <%[1]sOff> after it", name)
		}
	}
	return nil
}

// A placeholder is what other tools put in place of a boot command's words.
type placeholder struct {
	word  *regexp.Regexp
	write string
}

// placeholders are the words of Packer's templates, with what to write here. Its
// own languages' ${…} is left alone: shells and GRUB have it, too.
var placeholders = []placeholder{
	{regexp.MustCompile(`https?://\{\{\s*\.HTTPIP\s*\}\}:\{\{\s*\.HTTPPort\s*\}\}/?`), "<http>, which is the whole address with a slash at its end"},
	{regexp.MustCompile(`\{\{\s*\.HTTP(IP|Port)\s*\}\}`), "<http> for http://{{ .HTTPIP }}:{{ .HTTPPort }}/"},
	{regexp.MustCompile(`\{\{\s*\.(Vars|Name)\s*\}\}`), "the text itself"},
	{regexp.MustCompile(`\{\{\s*(user|isotime|build|env)\b[^}]*\}\}`), `a parameter, such as "… %s" % param("name")`},
}

// checkPlaceholders finds words that would be typed as they stand.
func checkPlaceholders(line string) error {
	for _, p := range placeholders {
		if found := p.word.FindString(line); found != "" {
			return fmt.Errorf("%s would be typed as it stands: write %s", found, p.write)
		}
	}
	return nil
}

func parseLine(line, http string) ([]stroke, error) {
	var all []stroke
	if err := checkPlaceholders(line); err != nil {
		return nil, err
	}
	for line != "" {
		if line[0] == '<' {
			name, rest, found := strings.Cut(line[1:], ">")
			if !found {
				return nil, errors.New(`a "<" has no ">": write <lt> for the letter`)
			}
			line = rest
			if strings.EqualFold(name, "http") {
				line = http + line
				continue
			}
			s, err := parseName(strings.ToLower(name))
			if err != nil {
				return nil, err
			}
			all = append(all, s)
			continue
		}
		r := []rune(line)[0]
		line = line[len(string(r)):]
		keys, err := keysOf(r)
		if err != nil {
			return nil, err
		}
		all = append(all, stroke{keys: keys})
	}
	return all, nil
}

// parseName reads what stands in angle brackets.
func parseName(name string) (stroke, error) {
	switch name {
	case "lt":
		return stroke{keys: []string{"shift", "comma"}}, nil
	case "gt":
		return stroke{keys: []string{"shift", "dot"}}, nil
	case "wait":
		return stroke{pause: time.Second}, nil
	}
	if text, ok := strings.CutPrefix(name, "wait"); ok {
		if d, err := time.ParseDuration(text); err == nil && d > 0 {
			return stroke{pause: d}, nil
		}
		if d, err := time.ParseDuration(text + "s"); err == nil && d > 0 {
			return stroke{pause: d}, nil
		}
		return stroke{}, fmt.Errorf("<%s>: want such as <wait5> or <wait1m30s>", name)
	}
	how := press
	if base, ok := strings.CutSuffix(name, "off"); ok && base != "" {
		name, how = base, up
	} else if base, ok := strings.CutSuffix(name, "on"); ok && base != "" {
		name, how = base, down
	}
	var keys []string
	for part := range strings.SplitSeq(name, "+") {
		if key, ok := named[part]; ok {
			keys = append(keys, key)
		} else if r := []rune(part); len(r) == 1 {
			more, err := keysOf(r[0])
			if err != nil {
				return stroke{}, err
			}
			keys = append(keys, more...)
		} else {
			return stroke{}, fmt.Errorf("<%s>: no such key", name)
		}
	}
	return stroke{keys: keys, hold: how}, nil
}

// keysOf returns the keys of a letter.
func keysOf(r rune) ([]string, error) {
	switch {
	case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
		return []string{string(r)}, nil
	case r >= 'A' && r <= 'Z':
		return []string{"shift", string(unicode.ToLower(r))}, nil
	case unshifted[r] != "":
		return []string{unshifted[r]}, nil
	case shifted[r] != "":
		return []string{"shift", shifted[r]}, nil
	}
	return nil, fmt.Errorf("the letter %q is not on a US keyboard", r)
}
