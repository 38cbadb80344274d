package printable

import (
	"bytes"
	"io"
	"sync"
	"unicode/utf8"
)

// maxHeld is how many bytes of an escape sequence that has not ended are kept.
const maxHeld = 256

// A Writer passes text on as it can be shown: lines and tabs stay, and nothing
// else that is not printable. A carriage return ends a line as well. It is safe for concurrent use; an escape sequence
// may be spread over several writes, but not over several lines.
type Writer struct {
	mu   sync.Mutex
	w    io.Writer
	held []byte // the begin of a sequence or of a character
}

// NewWriter returns a Writer that writes to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Raw returns the writer that w passes text on to, for what is a terminal's own
// business: a display that moves the cursor, a shell, a console.
func Raw(w io.Writer) io.Writer {
	if p, ok := w.(*Writer); ok {
		return p.w
	}
	return w
}

// Write implements io.Writer.
func (p *Writer) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(b)
	if len(p.held) > 0 {
		b = append(p.held, b...)
		p.held = nil
	}
	var out bytes.Buffer
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		whole := end >= 0
		if !whole {
			end = len(b)
		}
		rest := p.line(&out, b[:end], whole)
		if whole {
			out.WriteByte('\n')
			b = b[end+1:]
			continue
		}
		p.held = append([]byte(nil), rest...)
		break
	}
	if out.Len() == 0 {
		return n, nil
	}
	if _, err := p.w.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return n, nil
}

// line writes a line, or the begin of one, and returns the end of b of which it
// cannot be said yet what it is.
func (p *Writer) line(out *bytes.Buffer, b []byte, whole bool) (rest []byte) {
	for len(b) > 0 {
		if b[0] < utf8.RuneSelf && b[0] >= 0x20 && b[0] != 0x7f || b[0] == '\t' {
			out.WriteByte(b[0])
			b = b[1:]
			continue
		}
		if !whole && len(b) < maxHeld && (!utf8.FullRune(b) || open(b) || b[0] == '\r' && len(b) == 1) {
			return b
		}
		if b[0] == '\r' {
			// It begins the line again over what stood there: that is a new line.
			if len(b) > 1 {
				out.WriteByte('\n')
			}
			b = b[1:]
			continue
		}
		if n := escape(b); n > 0 {
			b = b[n:]
			continue
		}
		r, n := utf8.DecodeRune(b)
		if Shown(r) {
			out.WriteRune(r)
		}
		b = b[n:]
	}
	return nil
}

// open reports whether b may begin an escape sequence that ends behind b.
func open(b []byte) bool {
	n := escape(b)
	// A byte more would be part of a sequence that has not ended.
	return n == len(b) && n > 0 && escape(append(b[:n:n], 0x20)) > n
}
