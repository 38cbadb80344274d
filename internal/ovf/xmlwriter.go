package ovf

import (
	"bytes"
	"encoding/xml"
	"strings"
)

// An xmlWriter writes XML with an element on each line. encoding/xml declares a
// namespace at each element, which some readers of descriptors do not follow.
type xmlWriter struct {
	b     bytes.Buffer
	stack []string // names of the open elements
}

func (w *xmlWriter) bytes() []byte { return w.b.Bytes() }

func (w *xmlWriter) raw(s string) { w.b.WriteString(s) }

func (w *xmlWriter) line(s string) { w.raw(strings.Repeat("  ", len(w.stack)) + s + "\n") }

// tag returns what a tag holds: the name, and attributes as pairs of name and value.
func tag(name string, attrs []string) string {
	for i := 0; i+1 < len(attrs); i += 2 {
		name += " " + attrs[i] + `="` + escape(attrs[i+1]) + `"`
	}
	return name
}

func (w *xmlWriter) open(name string, attrs ...string) {
	w.line("<" + tag(name, attrs) + ">")
	w.stack = append(w.stack, name)
}

func (w *xmlWriter) close() {
	last := len(w.stack) - 1
	name := w.stack[last]
	w.stack = w.stack[:last]
	w.line("</" + name + ">")
}

func (w *xmlWriter) empty(name string, attrs ...string) { w.line("<" + tag(name, attrs) + "/>") }

func (w *xmlWriter) text(name, text string, attrs ...string) {
	w.line("<" + tag(name, attrs) + ">" + escape(text) + "</" + name + ">")
}

// escape writes text for an element or an attribute.
func escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) // a strings.Builder takes everything
	return b.String()
}
