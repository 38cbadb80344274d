// Package doc reads the documentation that Starlark files have in their docstrings.
//
// A docstring is written as buildifier expects it: a sentence, paragraphs of Markdown,
// and sections, each of which is a line at the margin that ends with a colon and
// indented lines below it:
//
//	"""Installs packages.
//
//	The package lists are those in the layer.
//
//	Args:
//	  layer: the layer to change.
//	  packages: names as apt-get takes them.
//
//	Returns:
//	  The new layer.
//
//	Example:
//	  m = apt.install(layer, ["nginx-light"])
//	"""
//
// A file is read and not evaluated, so that what it loads need not be there.
package doc
