package solve

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The parts of a log that are kept when it is larger than both together.
const (
	logHead = 32 << 20 // bytes
	logTail = 32 << 20 // bytes
)

// A logFile is a file of bounded size: the head of what was written, and from
// there on a ring of its tail, which Close puts in order.
type logFile struct {
	path       string
	head, tail int64
	f          *os.File
	size       int64 // bytes written, kept or not
}

// createLog makes the file anew, so that a process that still writes to an
// older one of the same name is not disturbed. What steps print is for the user
// alone.
func createLog(path string) (*logFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return &logFile{path: path, head: logHead, tail: logTail, f: f}, nil
}

func (l *logFile) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		at, room := l.size, l.head-l.size
		if room <= 0 {
			inRing := (l.size - l.head) % l.tail
			at, room = l.head+inRing, l.tail-inRing
		}
		part := b[:min(room, int64(len(b)))]
		if _, err := l.f.WriteAt(part, at); err != nil {
			return n - len(b), err
		}
		l.size += int64(len(part))
		b = b[len(part):]
	}
	return n, nil
}

// Close puts the tail in order when something was left out, and says so there.
func (l *logFile) Close() (err error) {
	defer func() { err = errors.Join(err, l.f.Close()) }()
	if l.size <= l.head+l.tail {
		return nil
	}
	tmp, err := os.CreateTemp(filepath.Dir(l.path), filepath.Base(l.path)+".*")
	if err != nil {
		return err
	}
	err = l.unroll(tmp)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), l.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}

func (l *logFile) unroll(w io.Writer) error {
	split := (l.size - l.head) % l.tail
	lost := l.size - l.head - l.tail
	note := fmt.Sprintf("\n[… %d bytes left out …]\n", lost)
	_, err := io.Copy(w, io.MultiReader(
		io.NewSectionReader(l.f, 0, l.head),
		strings.NewReader(note),
		io.NewSectionReader(l.f, l.head+split, l.tail-split),
		io.NewSectionReader(l.f, l.head, split),
	))
	return err
}

// Logs are kept for this long, the newest up to this many bytes.
const (
	logAge   = 14 * 24 * time.Hour
	logBytes = 1 << 30
)

// sweepLogs removes old logs from dir.
func sweepLogs(dir string, now time.Time, most int64) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	var logs []fs.FileInfo
	for _, e := range entries {
		// What is gone meanwhile was removed by another process.
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			logs = append(logs, info)
		}
	}
	slices.SortFunc(logs, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	var errs []error
	for _, l := range logs {
		if most -= l.Size(); most >= 0 && now.Sub(l.ModTime()) < logAge {
			continue
		}
		if err := os.Remove(filepath.Join(dir, l.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// tailLines is how many of the last lines of a log an error carries, and
// tailWidth how many bytes of each.
const (
	tailLines = 20
	tailWidth = 1000
)

// A tail keeps the last lines of what is written to it.
type tail struct {
	lines []string
	part  []byte // the line that has not ended
}

func (t *tail) Write(b []byte) {
	// What cannot be among the last lines need not be looked at.
	if i := nthLastNewline(b, tailLines+1); i > 0 {
		b = b[i:]
		t.part = nil
	}
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			t.grow(b)
			return
		}
		t.grow(b[:i])
		t.end()
		b = b[i+1:]
	}
}

func nthLastNewline(b []byte, n int) int {
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] == '\n' {
			if n--; n == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// grow adds to the line. A carriage return within it begins it again.
func (t *tail) grow(b []byte) {
	if i := bytes.LastIndexByte(bytes.TrimRight(b, "\r"), '\r'); i >= 0 {
		t.part, b = t.part[:0], b[i+1:]
	} else if n := len(t.part); n > 0 && t.part[n-1] == '\r' && len(b) > 0 {
		t.part = t.part[:0]
	}
	if room := 2*tailWidth - len(t.part); len(b) > room {
		b = b[:max(0, room)]
	}
	t.part = append(t.part, b...)
}

func (t *tail) end() {
	line := strings.TrimRight(string(t.part), "\r")
	if len(line) > tailWidth {
		line = line[:tailWidth] + "…"
	}
	line = strings.ToValidUTF8(line, string(utf8.RuneError))
	t.part = t.part[:0]
	if t.lines = append(t.lines, line); len(t.lines) > tailLines {
		t.lines = append(t.lines[:0], t.lines[1:]...)
	}
}

// last returns the last lines.
func (t *tail) last() []string {
	if len(t.part) > 0 {
		t.end()
	}
	return append([]string(nil), t.lines...)
}
