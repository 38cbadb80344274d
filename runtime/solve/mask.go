package solve

import (
	"bytes"
	"slices"
	"strings"
	"sync"
)

// masked stands where the value of a secret was.
const masked = "***"

// minLine is the length from which a single line of a secret of many lines is
// masked by itself. Shorter ones, such as a bracket, are no secret.
const minLine = 4

// A Masker replaces the values of secrets in what leaves the build: whole
// values, and each line of a value of many lines. It is safe for concurrent use.
type Masker struct {
	mu       sync.RWMutex
	patterns [][]byte // the longest first
}

// Add makes value a secret. What was masked before is not masked again.
func (m *Masker) Add(value []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(value)
	m.add(bytes.TrimSpace(value))
	if lines := bytes.Split(value, []byte("\n")); len(lines) > 1 {
		for _, line := range lines {
			if line = bytes.TrimSpace(line); len(line) >= minLine {
				m.add(line)
			}
		}
	}
	slices.SortStableFunc(m.patterns, func(a, b []byte) int { return len(b) - len(a) })
}

func (m *Masker) add(p []byte) {
	if len(bytes.TrimSpace(p)) == 0 || slices.ContainsFunc(m.patterns, func(q []byte) bool { return bytes.Equal(p, q) }) {
		return
	}
	m.patterns = append(m.patterns, bytes.Clone(p))
}

// String returns s with the values of secrets replaced.
func (m *Masker) String(s string) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if !slices.ContainsFunc(m.patterns, func(p []byte) bool { return strings.Contains(s, string(p)) }) {
		return s
	}
	out, _ := m.replace(nil, []byte(s), true)
	return string(out)
}

// Error returns err with its text masked. errors.Is and errors.As see through it.
func (m *Masker) Error(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if s := m.String(text); s != text {
		return &maskedError{text: s, err: err}
	}
	return err
}

type maskedError struct {
	text string
	err  error
}

func (e *maskedError) Error() string { return e.text }
func (e *maskedError) Unwrap() error { return e.err }

// replace appends b to out with the values replaced. Unless b is the end of its
// stream, it returns as rest the tail of b that may be the begin of a value.
func (m *Masker) replace(out, b []byte, end bool) (_, rest []byte) {
	next := make([]int, len(m.patterns)) // where each pattern is next, or -1
	for i, p := range m.patterns {
		next[i] = bytes.Index(b, p)
	}
	hold := len(b)
	if !end {
		hold = m.holdFrom(b)
	}
	pos := 0
	for {
		at, which := -1, 0 // of equal places, the longest value
		for i, p := range m.patterns {
			if next[i] >= 0 && next[i] < pos {
				if next[i] = bytes.Index(b[pos:], p); next[i] >= 0 {
					next[i] += pos
				}
			}
			if next[i] >= 0 && (at < 0 || next[i] < at) {
				at, which = next[i], i
			}
		}
		if at < 0 || at >= hold {
			break
		}
		to := m.extend(b, at+len(m.patterns[which]))
		if to > hold && !end {
			hold = at // what comes next may belong to an overlapping value
			break
		}
		out = append(out, b[pos:at]...)
		out = append(out, masked...)
		pos = to
	}
	hold = max(hold, pos)
	return append(out, b[pos:hold]...), b[hold:]
}

// extend returns the end of what values cover without a gap, beginning with one
// that ends at to.
func (m *Masker) extend(b []byte, to int) int {
	for i := 0; i < len(m.patterns); i++ {
		p := m.patterns[i]
		from := max(0, to-len(p)+1)
		if at := bytes.LastIndex(b[from:min(len(b), to+len(p)-1)], p); at >= 0 && from+at+len(p) > to {
			to, i = from+at+len(p), -1
		}
	}
	return to
}

// holdFrom returns the first index of b from which the rest of b is a proper
// begin of some value.
func (m *Masker) holdFrom(b []byte) int {
	if len(m.patterns) == 0 {
		return len(b)
	}
	for i := max(0, len(b)-len(m.patterns[0])+1); i < len(b); i++ {
		for _, p := range m.patterns {
			if len(p) > len(b)-i && bytes.HasPrefix(p, b[i:]) {
				return i
			}
		}
	}
	return len(b)
}

// A maskWriter masks one stream, in which a value may be split over writes.
// What it passes on is at most the length of the longest value behind.
type maskWriter struct {
	m    *Masker
	to   func(b []byte)
	held []byte
	buf  []byte
}

func (w *maskWriter) write(b []byte, end bool) {
	w.m.mu.RLock()
	defer w.m.mu.RUnlock()
	if len(w.m.patterns) == 0 && len(w.held) == 0 {
		if len(b) > 0 {
			w.to(b)
		}
		return
	}
	if len(w.held) > 0 {
		b = append(w.held, b...)
	}
	out, rest := w.m.replace(w.buf[:0], b, end)
	w.buf = out
	w.held = append([]byte(nil), rest...)
	if len(out) > 0 {
		w.to(out)
	}
}
