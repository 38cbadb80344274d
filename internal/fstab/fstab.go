// Package fstab reads and writes the table of file systems of a machine,
// /etc/fstab, as fstab(5) describes it.
package fstab

import (
	"fmt"
	"slices"
	"strings"
)

// An Entry is one file system that a machine mounts.
type Entry struct {
	Spec    string   // the device, with a tag such as "UUID=" or as a path
	Dir     string   // the mount point, or "none" of swap space
	Type    string   // of the file system
	Options []string // at least one
	Rest    string   // what follows: the numbers for dump and fsck
}

// A Line is one line of a table, without its end.
type Line struct {
	Text  string
	Entry *Entry // nil for comments, empty lines and what is not understood
}

// Parse reads a table. It never fails: the machine ignores a line that it does
// not understand, too.
func Parse(text string) []Line {
	var lines []Line
	for text := range strings.Lines(text) {
		l := Line{Text: strings.TrimRight(text, "\r\n")}
		f := strings.Fields(l.Text)
		if len(f) >= 2 && !strings.HasPrefix(f[0], "#") {
			e := &Entry{Spec: unescape(f[0]), Dir: unescape(f[1]), Type: "auto", Options: []string{"defaults"}}
			if len(f) > 2 {
				e.Type = f[2]
			}
			if len(f) > 3 {
				e.Options = strings.Split(f[3], ",")
			}
			if len(f) > 4 {
				e.Rest = strings.Join(f[4:], " ")
			}
			l.Entry = e
		}
		lines = append(lines, l)
	}
	return lines
}

// Entries returns the entries of a table.
func Entries(text string) []*Entry {
	var list []*Entry
	for _, l := range Parse(text) {
		if l.Entry != nil {
			list = append(list, l.Entry)
		}
	}
	return list
}

// String returns the entry as a line without its end.
func (e *Entry) String() string {
	return strings.TrimRight(fmt.Sprintf("%s %s %s %s %s", escape(e.Spec), escape(e.Dir), e.Type, strings.Join(e.Options, ","), e.Rest), " ")
}

// Has reports whether the entry has an option.
func (e *Entry) Has(option string) bool { return slices.Contains(e.Options, option) }

// Value returns what an option of the form name=value says.
func (e *Entry) Value(name string) (value string, ok bool) {
	for _, o := range e.Options {
		if value, ok = strings.CutPrefix(o, name+"="); ok {
			return value, true
		}
	}
	return "", false
}

// Swap reports whether the entry is swap space.
func (e *Entry) Swap() bool { return e.Type == "swap" }

// Tag splits the device into the name of a tag and its value, such as "UUID" and
// "1234-ABCD". Links that udev makes count as what they stand for. A path has no
// tag.
func (e *Entry) Tag() (name, value string, ok bool) {
	for _, tag := range []string{"UUID", "LABEL", "PARTUUID", "PARTLABEL"} {
		if v, found := strings.CutPrefix(e.Spec, tag+"="); found {
			return tag, strings.Trim(v, `"'`), true
		}
		if v, found := strings.CutPrefix(e.Spec, "/dev/disk/by-"+strings.ToLower(tag)+"/"); found {
			return tag, v, true
		}
	}
	return "", "", false
}

// OnDevice reports whether the entry needs a block device: it is neither of the
// network or of the kernel, nor a file or directory that is mounted again.
func (e *Entry) OnDevice() bool {
	_, _, tagged := e.Tag()
	return (tagged || strings.HasPrefix(e.Spec, "/dev/")) && !e.Has("bind") && !e.Has("rbind") &&
		!slices.Contains([]string{"tmpfs", "devpts", "proc", "sysfs", "devtmpfs", "mqueue", "hugetlbfs"}, e.Type)
}

var escapes = strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`)

func escape(s string) string { return escapes.Replace(s) }

var unescapes = strings.NewReplacer(`\134`, `\`, `\040`, " ", `\011`, "\t", `\012`, "\n")

func unescape(s string) string { return unescapes.Replace(s) }
