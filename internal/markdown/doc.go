// Package markdown reads pages of documentation, in CommonMark with the tables of GitHub,
// and shows them as HTML or on a terminal.
//
// HTML is shown as the text that it is, but for comments, which are not seen. Nothing is an
// error. A library parses; this package has its own tree because links, anchors and
// tables are written in bake's way, and nothing that a page says becomes a tag.
package markdown
