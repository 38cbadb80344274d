package solve

import (
	"bytes"
	"slices"
	"sync"
)

// masked stands where the value of a secret was.
const masked = "***"

// minLine is the length from which a single line of a secret of many lines is
// masked by itself. Shorter ones, such as a bracket, are no secret.
const minLine = 4

// A Masker replaces the values of secrets in what leaves the build: whole
// values, each line of a value of many lines, and the forms that common tools
// write these in; see forms. It is safe for concurrent use.
type Masker struct {
	mu      sync.RWMutex
	known   map[string]bool     // all patterns
	heads   pairs               // the first and second bytes of patterns
	nexts   pairs               // their second and third ones
	firsts  [256]bool           // whether a pattern begins with the byte
	by      map[uint16][][]byte // patterns by their first two bytes, the longest first
	singles [256]bool           // patterns of one byte
	longest int
}

// A pairs is a set of pairs of bytes. It keeps most of a text away from a look
// into a map.
type pairs [1 << 10]uint64

func (p *pairs) add(a, b byte) {
	n := int(a)<<8 | int(b)
	p[n/64] |= 1 << (n % 64)
}

func (p *pairs) has(a, b byte) bool {
	n := int(a)<<8 | int(b)
	return p[n/64]&(1<<(n%64)) != 0
}

// Add makes value a secret. What was masked before is not masked again.
func (m *Masker) Add(value []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(value)
	m.addForms(bytes.TrimSpace(value))
	if lines := bytes.Split(value, []byte("\n")); len(lines) > 1 {
		for _, line := range lines {
			if line = bytes.TrimSpace(line); len(line) >= minLine {
				m.addForms(line)
			}
		}
	}
}

func (m *Masker) addForms(value []byte) {
	m.add(value)
	for _, f := range forms(value) {
		m.add(f)
	}
}

func (m *Masker) add(p []byte) {
	if len(bytes.TrimSpace(p)) == 0 || m.known[string(p)] {
		return
	}
	if m.known == nil {
		m.known, m.by = map[string]bool{}, map[uint16][][]byte{}
	}
	m.known[string(p)] = true
	m.longest = max(m.longest, len(p))
	if len(p) == 1 {
		m.singles[p[0]] = true
		return
	}
	head := uint16(p[0])<<8 | uint16(p[1])
	m.heads.add(p[0], p[1])
	if len(p) > 2 {
		m.nexts.add(p[1], p[2])
	} else {
		for c := range 256 {
			m.nexts.add(p[1], byte(c))
		}
	}
	m.firsts[p[0]] = true
	m.by[head] = append(m.by[head], bytes.Clone(p))
	slices.SortStableFunc(m.by[head], func(a, b []byte) int { return len(b) - len(a) })
}

// headAt returns the patterns of two bytes and more that begin as b[i:] does.
func (m *Masker) headAt(b []byte, i int) [][]byte {
	if i+1 >= len(b) || !m.heads.has(b[i], b[i+1]) || i+2 < len(b) && !m.nexts.has(b[i+1], b[i+2]) {
		return nil
	}
	return m.by[uint16(b[i])<<8|uint16(b[i+1])]
}

// matchAt returns the length of the longest pattern at b[i:], or 0.
func (m *Masker) matchAt(b []byte, i int) int {
	for _, p := range m.headAt(b, i) {
		if bytes.HasPrefix(b[i:], p) {
			return len(p)
		}
	}
	if m.singles[b[i]] {
		return 1
	}
	return 0
}

// String returns s with the values of secrets replaced.
func (m *Masker) String(s string) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.longest == 0 {
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
	hold := len(b)
	if !end {
		hold = m.holdFrom(b)
	}
	pos := 0
	for at := 0; at < hold; at++ {
		n := m.matchAt(b, at)
		if n == 0 {
			continue
		}
		to := m.extend(b, at+n)
		if to > hold && !end {
			hold = at // what comes next may belong to an overlapping value
			break
		}
		out = append(out, b[pos:at]...)
		out = append(out, masked...)
		pos, at = to, to-1
	}
	hold = max(hold, pos)
	return append(out, b[pos:hold]...), b[hold:]
}

// extend returns the end of what values cover without a gap, beginning with one
// that ends at to.
func (m *Masker) extend(b []byte, to int) int {
	for {
		far := to
		for i := max(0, to-m.longest+1); i < to; i++ {
			if n := m.matchAt(b, i); i+n > to {
				far = max(far, i+n)
			}
		}
		if far == to {
			return to
		}
		to = far
	}
}

// holdFrom returns the first index of b from which the rest of b is a proper
// begin of some value.
func (m *Masker) holdFrom(b []byte) int {
	for i := max(0, len(b)-m.longest+1); i < len(b); i++ {
		if i == len(b)-1 {
			if m.firsts[b[i]] {
				return i
			}
			break
		}
		for _, p := range m.headAt(b, i) {
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
	if w.m.longest == 0 && len(w.held) == 0 {
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
