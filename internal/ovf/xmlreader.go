package ovf

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Bounds of a descriptor.
const (
	maxDescriptor = 8 << 20 // bytes
	maxElements   = 50_000
	maxDepth      = 64
)

// An element is one of an XML document.
type element struct {
	space, name string
	attrs       []xml.Attr
	children    []*element
	content     strings.Builder
	line        int
}

// parseXML reads a document. It takes no declarations of a document's type, so that
// there are no entities but those of XML itself.
func parseXML(text []byte) (*element, error) {
	if len(text) > maxDescriptor {
		return nil, fmt.Errorf("the descriptor has %d bytes, and %d are the most that bake reads", len(text), maxDescriptor)
	}
	d := xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(text, []byte("\ufeff"))))
	d.Strict = true
	fail := func(format string, args ...any) error {
		line, _ := d.InputPos()
		return fmt.Errorf("line %d of the descriptor: %w", line, fmt.Errorf(format, args...))
	}
	var root *element
	var open []*element
	for count := 0; ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		} else if err != nil {
			return nil, fail("%w", syntaxOf(err))
		}
		switch t := token.(type) {
		case xml.Directive:
			return nil, fail("has a document type declaration, which no descriptor needs")
		case xml.StartElement:
			if count++; count > maxElements || len(open) >= maxDepth {
				return nil, fail("has more elements than any descriptor")
			}
			if len(open) == 0 && root != nil {
				return nil, fail("has a second root element")
			}
			line, _ := d.InputPos()
			e := &element{space: t.Name.Space, name: t.Name.Local, attrs: t.Copy().Attr, line: line}
			if len(open) > 0 {
				parent := open[len(open)-1]
				parent.children = append(parent.children, e)
			} else {
				root = e
			}
			open = append(open, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].content.Write(t)
			}
		}
	}
	if root == nil {
		return nil, errors.New("the descriptor is empty")
	}
	return root, nil
}

// syntaxOf returns what is wrong without the line that encoding/xml says again.
func syntaxOf(err error) error {
	var s *xml.SyntaxError
	if errors.As(err, &s) {
		return errors.New(s.Msg)
	}
	return err
}

func (e *element) text() string { return strings.TrimSpace(e.content.String()) }

// attr returns the value of an attribute by its local name, "" where there is none.
func (e *element) attr(name string) string {
	for _, a := range e.attrs {
		if a.Name.Local == name && a.Name.Space != "xmlns" {
			return a.Value
		}
	}
	return ""
}

// kind is the element's local name, or what xsi:type says that a section of OVF 0.9 is:
// "DiskSection" for ovf:DiskSection_Type.
func (e *element) kind() string {
	if e.name != "Section" && e.name != "Content" {
		return e.name
	}
	_, kind, ok := strings.Cut(e.attr("type"), ":")
	if !ok {
		kind = e.attr("type")
	}
	return strings.TrimSuffix(kind, "_Type")
}

// all returns the children of a kind.
func (e *element) all(kind string) []*element {
	var list []*element
	if e != nil {
		for _, c := range e.children {
			if c.kind() == kind {
				list = append(list, c)
			}
		}
	}
	return list
}

// first returns the first child of a kind, or nil.
func (e *element) first(kind string) *element {
	if list := e.all(kind); len(list) > 0 {
		return list[0]
	}
	return nil
}

// value returns the text of the first child of a kind, or "".
func (e *element) value(kind string) string {
	if c := e.first(kind); c != nil {
		return c.text()
	}
	return ""
}
