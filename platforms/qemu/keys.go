package qemu

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// A stroke is what is typed at once, or a pause.
type stroke struct {
	keys  []string      // pressed together, as QEMU names them (QKeyCode)
	pause time.Duration // instead of keys
}

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
	return all, nil
}

func parseLine(line, http string) ([]stroke, error) {
	var all []stroke
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
	return stroke{keys: keys}, nil
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
