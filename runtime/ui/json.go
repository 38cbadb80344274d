package ui

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"bake.build/bake/internal/printable"
	"bake.build/bake/runtime/event"
)

// A Line is one line of the JSON display. The fields are stable: new ones may
// come, none changes its meaning. A field that does not apply is left out.
type Line struct {
	Time    time.Time   `json:"time"`              // RFC 3339 with fractions of a second
	Type    event.Type  `json:"type"`              // one of the types of package event
	Node    *event.Node `json:"node,omitempty"`    // what the event is about
	Text    string      `json:"text,omitempty"`    // see the types of package event
	Data    string      `json:"data,omitempty"`    // of "output": a piece of the log, not cut at lines
	Error   string      `json:"error,omitempty"`   // of "failed", "retry" and "finished"
	Done    int64       `json:"done,omitempty"`    // of "progress": bytes; of "retry": tries
	Total   int64       `json:"total,omitempty"`   // of "progress" and "artifact": bytes; of "planned": nodes
	Elapsed float64     `json:"elapsed,omitempty"` // seconds
}

// A jsonReader writes each event as a line of JSON.
type jsonReader struct {
	out  io.Writer
	buf  bytes.Buffer // that enc writes to
	enc  *json.Encoder
	part map[int][]byte // the begin of a character at the end of a node's output
	err  error
}

func newJSON(out io.Writer) *jsonReader {
	j := &jsonReader{out: out, part: map[int][]byte{}}
	j.enc = json.NewEncoder(&j.buf)
	j.enc.SetEscapeHTML(false)
	return j
}

// Event implements event.Reader.
func (j *jsonReader) Event(e event.Event) {
	l := Line{Time: e.Time, Type: e.Type, Node: e.Node, Text: e.Text, Done: e.Done, Total: e.Total, Elapsed: e.Elapsed.Seconds()}
	if e.Err != nil {
		l.Error = e.Err.Error()
	}
	switch {
	case e.Node == nil:
	case e.Type == event.Output:
		b := append(j.part[e.Node.ID], e.Data...)
		cut := len(b) - incomplete(b)
		j.part[e.Node.ID] = append([]byte(nil), b[cut:]...)
		if l.Data = valid(b[:cut]); l.Data == "" {
			return
		}
	case ends(e.Type):
		if rest := j.part[e.Node.ID]; len(rest) > 0 {
			j.write(Line{Time: e.Time, Type: event.Output, Node: e.Node, Data: valid(rest)})
		}
		delete(j.part, e.Node.ID)
	}
	j.write(l)
}

func (j *jsonReader) write(l Line) {
	j.buf.Reset()
	err := j.enc.Encode(l)
	if err == nil {
		_, err = j.out.Write(printable.JSON(j.buf.Bytes()))
	}
	if j.err == nil {
		j.err = err
	}
}

func (j *jsonReader) end() error { return j.err }

// ends reports whether an event of the type is the last of its node.
func ends(t event.Type) bool {
	switch t {
	case event.Done, event.Failed, event.Canceled, event.Cached, event.Skipped:
		return true
	}
	return false
}

func valid(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }

// incomplete returns how many bytes at the end of b begin a character that has
// not ended.
func incomplete(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if c := b[len(b)-n]; utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(b[len(b)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}
