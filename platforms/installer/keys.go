package installer

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// ParseKeys reads what the option boot_command says. http is what <http> stands for.
func ParseKeys(lines []string, http string) ([]Stroke, error) {
	var all []Stroke
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
func checkHeld(strokes []Stroke) error {
	var held []Key
	for _, s := range strokes {
		for _, k := range s.Keys {
			held = slices.DeleteFunc(held, func(other Key) bool { return other == k })
			if s.Hold == Down {
				held = append(held, k)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(namedKeys)) {
		if slices.Contains(held, namedKeys[name]) {
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

// checkPlaceholders finds words that would be typed literally.
func checkPlaceholders(line string) error {
	for _, p := range placeholders {
		if found := p.word.FindString(line); found != "" {
			return fmt.Errorf("%s would be typed literally: write %s", found, p.write)
		}
	}
	return nil
}

func parseLine(line, http string) ([]Stroke, error) {
	var all []Stroke
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
		r, n := utf8.DecodeRuneInString(line)
		line = line[n:]
		keys, err := keysOf(r)
		if err != nil {
			return nil, err
		}
		all = append(all, Stroke{Keys: keys})
	}
	return all, nil
}

// parseName reads what stands in angle brackets.
func parseName(name string) (Stroke, error) {
	switch name {
	case "lt":
		keys, err := keysOf('<')
		return Stroke{Keys: keys}, err
	case "gt":
		keys, err := keysOf('>')
		return Stroke{Keys: keys}, err
	case "wait":
		return Stroke{Pause: time.Second}, nil
	}
	if text, ok := strings.CutPrefix(name, "wait"); ok {
		if d, err := time.ParseDuration(text); err == nil && d > 0 {
			return Stroke{Pause: d}, nil
		}
		if d, err := time.ParseDuration(text + "s"); err == nil && d > 0 {
			return Stroke{Pause: d}, nil
		}
		return Stroke{}, fmt.Errorf("<%s>: want such as <wait5> or <wait1m30s>", name)
	}
	how := Press
	if base, ok := strings.CutSuffix(name, "off"); ok && base != "" {
		name, how = base, Up
	} else if base, ok := strings.CutSuffix(name, "on"); ok && base != "" {
		name, how = base, Down
	}
	var keys []Key
	for part := range strings.SplitSeq(name, "+") {
		if key, ok := namedKeys[part]; ok {
			keys = append(keys, key)
		} else if r := []rune(part); len(r) == 1 {
			more, err := keysOf(r[0])
			if err != nil {
				return Stroke{}, err
			}
			keys = append(keys, more...)
		} else {
			return Stroke{}, fmt.Errorf("<%s>: no such key", name)
		}
	}
	return Stroke{Keys: keys, Hold: how}, nil
}

// keysOf returns the keys of a letter.
func keysOf(r rune) ([]Key, error) {
	for _, k := range keyTable {
		switch r {
		case k.plain:
			return []Key{k.Key}, nil
		case k.shifted:
			if r != 0 {
				return []Key{shift(), k.Key}, nil
			}
		}
	}
	return nil, fmt.Errorf("the letter %q is not on a US keyboard", r)
}
