// Package markdown reads the part of CommonMark that documentation is written
// in, with the tables of GitHub, and shows it as HTML or on a terminal.
//
// It knows paragraphs, headings (#), lists, fenced and indented code, quotes,
// tables and rules; emphasis, code, links, images and automatic links (<https://…>). It
// does not know HTML, which is shown as the text that it is, underlined headings,
// and links by reference. What it does not know is text: nothing is an error.
//
// A library for all of CommonMark made each start of the program, and so each
// step in a sandbox, slower by a seventh, before anything was rendered. Tests
// hold this package against that library.
package markdown
