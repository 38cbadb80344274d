package iso

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode/utf16"
)

// A File is one file of an image.
type File struct {
	Name string // with slashes between directories, as of fs.ValidPath
	Size int64  // bytes
	Open func() (io.ReadCloser, error)
}

// Text is a file with the given content.
func Text(name, content string) File {
	return File{Name: name, Size: int64(len(content)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(content)), nil
	}}
}

// sector is the unit of everything in an image, in bytes.
const sector = 2048

// Limits of the format.
const (
	longestName = 64 // of Joliet, in UTF-16 units
	largestFile = 1<<32 - 1
	systemArea  = 16 // sectors before the first descriptor
	labelLength = 16 // of a Joliet volume, in UTF-16 units
)

// Write writes an image with the volume label and the files, and returns the
// error of a file that cannot be part of it.
func Write(w io.Writer, label string, files []File) error {
	if len(label) > labelLength {
		return fmt.Errorf("write ISO image: the label %q is longer than %d letters", label, labelLength)
	}
	root, err := tree(files)
	if err != nil {
		return fmt.Errorf("write ISO image: %w", err)
	}
	l := layOut(root)
	out := &writer{w: bufio.NewWriterSize(w, 1<<20)}
	l.write(out, label)
	if out.err == nil {
		out.err = out.w.Flush()
	}
	if out.err != nil {
		return fmt.Errorf("write ISO image: %w", out.err)
	}
	return nil
}

// An entry is a directory or a file.
type entry struct {
	name    string
	file    *File    // nil for a directory
	entries []*entry // of a directory
	parent  *entry
	number  int    // of a directory, from 1 on
	start   uint32 // of a file's content, in sectors
	names   [2]string
	dirs    [2]extent // of a directory in each tree
}

type extent struct{ start, size uint32 } // in sectors and bytes

// tree arranges the files.
func tree(files []File) (*entry, error) {
	root := &entry{}
	for i := range files {
		f := &files[i]
		if !validPath(f.Name) {
			return nil, fmt.Errorf("%q is no name for a file", f.Name)
		}
		if f.Size < 0 || f.Size > largestFile {
			return nil, fmt.Errorf("%s: files of 4 GiB and more have no place in an ISO image", f.Name)
		}
		dir := root
		parts := strings.Split(f.Name, "/")
		for _, name := range parts[:len(parts)-1] {
			var err error
			if dir, err = dir.child(name, nil); err != nil {
				return nil, fmt.Errorf("%s: %w", f.Name, err)
			}
		}
		if _, err := dir.child(parts[len(parts)-1], f); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	root.shorten()
	return root, nil
}

func validPath(name string) bool {
	return name != "" && !path.IsAbs(name) && path.Clean(name) == name && name != "." && name != ".." && !strings.HasPrefix(name, "../")
}

// child adds an entry, or returns the directory of that name.
func (e *entry) child(name string, f *File) (*entry, error) {
	if n := len(utf16.Encode([]rune(name))); n > longestName {
		return nil, fmt.Errorf("the name %q is longer than %d letters", name, longestName)
	}
	if strings.ContainsAny(name, "*:;?\\") {
		return nil, fmt.Errorf("the name %q has a letter that ISO images do not allow", name)
	}
	for _, old := range e.entries {
		if old.name != name {
			continue
		}
		if f != nil || old.file != nil {
			return nil, errors.New("there are two of that name")
		}
		return old, nil
	}
	n := &entry{name: name, file: f, parent: e}
	e.entries = append(e.entries, n)
	return n, nil
}

// Trees of an image.
const (
	plainTree = iota
	jolietTree
)

// shorten gives each entry its names in both trees.
func (e *entry) shorten() {
	taken := map[string]bool{}
	slices.SortFunc(e.entries, func(a, b *entry) int { return strings.Compare(a.name, b.name) })
	for _, c := range e.entries {
		c.names[plainTree] = shortName(c.name, c.file != nil, taken)
		c.names[jolietTree] = c.name
		if c.file == nil {
			c.shorten()
		}
	}
}

// shortName returns a name of eight letters and an extension of three that is
// not taken yet.
func shortName(name string, file bool, taken map[string]bool) string {
	stem, ext := name, ""
	if i := strings.LastIndexByte(name, '.'); i > 0 && file {
		stem, ext = name[:i], name[i+1:]
	}
	stem, ext = letters(stem, 8), letters(ext, 3)
	for i := 0; ; i++ {
		s := stem
		if i > 0 {
			number := fmt.Sprintf("_%d", i)
			s = stem[:min(len(stem), 8-len(number))] + number
		}
		if file {
			s += "." + ext + ";1"
		}
		if !taken[s] {
			taken[s] = true
			return s
		}
	}
}

func letters(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z' || r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, s)
	if s == "" && most == 8 {
		s = "_"
	}
	return s[:min(len(s), most)]
}

// A layout is where all parts of an image lie.
type layout struct {
	dirs   [2][]*entry  // the directories of each tree, parents first
	tables [2][2]extent // path tables of each tree: little and big endian
	files  []*entry
	total  uint32 // sectors
}

func layOut(root *entry) *layout {
	l := &layout{}
	at := uint32(systemArea + 3) // two volumes and the end of the descriptors
	for t := range 2 {
		l.dirs[t] = directories(root, t)
		size := uint32(0)
		for i, d := range l.dirs[t] {
			d.number = i + 1
			size += uint32(len(pathRecord(d, t, binary.LittleEndian)))
		}
		for order := range 2 {
			l.tables[t][order] = extent{at, size}
			at += sectors(int64(size))
		}
	}
	for t := range 2 {
		for _, d := range l.dirs[t] {
			n := dirSectors(d, t)
			d.dirs[t] = extent{at, n * sector}
			at += n
		}
	}
	for _, d := range l.dirs[plainTree] {
		for _, e := range d.entries {
			if e.file != nil {
				e.start = at
				at += sectors(e.file.Size)
				l.files = append(l.files, e)
			}
		}
	}
	l.total = at
	return l
}

func sectors(bytes int64) uint32 { return uint32((bytes + sector - 1) / sector) }

// directories lists the directories of a tree as path tables want them: by
// depth, then by the number of the parent, then by name.
func directories(root *entry, t int) []*entry {
	all := []*entry{root}
	for i := 0; i < len(all); i++ {
		for _, e := range sorted(all[i], t) {
			if e.file == nil {
				all = append(all, e)
			}
		}
	}
	return all
}

// sorted returns the entries of a directory in the order of a tree.
func sorted(d *entry, t int) []*entry {
	list := slices.Clone(d.entries)
	slices.SortFunc(list, func(a, b *entry) int {
		return cmp.Compare(string(identifier(a.names[t], t)), string(identifier(b.names[t], t)))
	})
	return list
}

// identifier writes a name as a tree has it: Joliet in big-endian UTF-16.
func identifier(name string, t int) []byte {
	if t == plainTree {
		return []byte(name)
	}
	var b []byte
	for _, u := range utf16.Encode([]rune(name)) {
		b = binary.BigEndian.AppendUint16(b, u)
	}
	return b
}

// dirSectors returns how many sectors the records of a directory take: none
// crosses from one to the next.
func dirSectors(d *entry, t int) uint32 {
	n, used := uint32(1), 2*recordLength(1)
	for _, e := range sorted(d, t) {
		length := recordLength(len(identifier(e.names[t], t)))
		if used+length > sector {
			n, used = n+1, 0
		}
		used += length
	}
	return n
}

// recordLength is the length of a directory record (ECMA-119, 9.1).
func recordLength(identifier int) int { return 33 + identifier + (identifier+1)%2 }
