// Package format writes Starlark files in the one layout of Buildifier: white space,
// quotes, commas and line breaks, and nothing that a program can see. What is
// formatted is parsed before and after by the parser of the language; unless both
// trees and all comments are the same, the file is left as it is.
package format

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/bazelbuild/buildtools/build"
	"go.starlark.net/syntax"

	"bake.build/bake/starlark/eval"
)

// MaxSize is how many bytes a file has at most, as for definitions.
const MaxSize = 1 << 20

// maxDepth is how deep expressions and blocks are nested at most. The printer calls
// itself for each level.
const maxDepth = 10_000

// rounds is how often a text is formatted until it stays as it is.
const rounds = 4

// Source returns text, a Starlark file, formatted. Positions in errors name the file
// as name. An error is a syntax.Error: of a file that does not parse, at the line
// where it does not, and of one that cannot be formatted.
func Source(name string, text []byte) ([]byte, error) {
	if len(text) > MaxSize {
		return nil, at(name, 1, 1, fmt.Sprintf("%d bytes are more than %d", len(text), MaxSize))
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	before, err := read(name, text)
	if err != nil {
		return nil, err
	}
	for range rounds {
		next, err := print(name, text)
		if err != nil {
			return nil, err
		}
		if bytes.Equal(next, text) {
			if err := same(name, before, next); err != nil {
				return nil, err
			}
			return next, nil
		}
		text = next
	}
	return nil, at(name, 1, 1, "cannot format this file: its layout does not come to rest")
}

// same returns an error unless the formatted text has the content of before.
func same(name string, before *content, text []byte) error {
	after, err := read(name, text)
	if e := (syntax.Error{}); errors.As(err, &e) {
		return at(name, int(e.Pos.Line), 1, "cannot format this file: it would not parse any more: "+e.Msg)
	} else if err != nil {
		return err
	}
	if line, what := before.differs(after); what != "" {
		return at(name, line, 1, "cannot format this file: "+what)
	}
	return nil
}

// print formats text once.
func print(name string, text []byte) ([]byte, error) {
	file, err := build.ParseDefault(name, prepare(text))
	if e := (build.ParseError{}); errors.As(err, &e) {
		_, near, _ := strings.Cut(e.Message, " near ") // the last token, behind which the position is
		return nil, at(name, e.Pos.Line, max(1, e.Pos.LineRune-len(near)), "cannot format this: "+e.Message)
	} else if err != nil {
		return nil, at(name, 1, 1, "cannot format this file: "+err.Error())
	}
	return build.FormatWithoutRewriting(file), nil
}

func at(name string, line, col int, msg string) error {
	return syntax.Error{Pos: syntax.MakePosition(&name, int32(line), int32(col)), Msg: msg}
}

// read parses text as a definition.
func read(name string, text []byte) (*content, error) {
	file, err := eval.Dialect().Parse(name, text, 0)
	if err != nil {
		return nil, err
	}
	return contentOf(name, file, text)
}
