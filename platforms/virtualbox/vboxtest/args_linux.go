package vboxtest

import "strings"

// options are those of a call, by their names without dashes, the last value of each.
type options map[string][]string

func (o options) or(name, without string) string {
	if len(o[name]) == 0 {
		return without
	}
	return o[name][0]
}

func (o options) has(name string) bool { _, ok := o[name]; return ok }

// split parts positional arguments from options, of which each takes as many values as
// takes says.
func split(args []string, takes map[string]int) (pos []string, opts options) {
	opts = options{}
	for i := 0; i < len(args); i++ {
		name, isOption := strings.CutPrefix(args[i], "--")
		if !isOption {
			pos = append(pos, args[i])
			continue
		}
		if key, value, ok := strings.Cut(name, "="); ok {
			opts[key] = []string{value}
			continue
		}
		n := min(takes[name], len(args)-i-1)
		opts[name] = args[i+1 : i+1+n]
		i += n
	}
	return pos, opts
}
