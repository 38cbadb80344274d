package export

import (
	"path"
	"slices"

	"bake.build/bake/internal/userns"
	"bake.build/bake/runtime/disk/tree"
)

// hidden are the files of lower layers that layers above them hide. An image of
// several layers still has them for everybody who looks, so that what a step
// removes, such as keys and logs, is left out of the layers below it.
type hidden struct {
	gone     map[string]bool // with all below
	emptied  map[string]bool // what was in these directories
	replaced map[string]bool // files in whose place there is another one
}

func newHidden() *hidden {
	return &hidden{gone: map[string]bool{}, emptied: map[string]bool{}, replaced: map[string]bool{}}
}

// below returns what of the layer t is not hidden by the layers above it, and
// takes note of what t hides. Layers come from the newest to the oldest. The
// oldest keeps files that were replaced: it is what images share, and would be
// another one for each that changes one of its files.
func (h *hidden) below(t *tree.Tree, oldest bool) {
	marks := newHidden()
	h.prune(t.Root, ".", oldest, marks)
	for p := range marks.gone {
		h.gone[p] = true
	}
	for p := range marks.emptied {
		h.emptied[p] = true
	}
	for p := range marks.replaced {
		h.replaced[p] = true
	}
}

func (h *hidden) prune(dir *tree.Entry, at string, oldest bool, marks *hidden) {
	if opaque(dir) {
		marks.emptied[at] = true
	}
	if h.emptied[at] {
		dir.Children = nil
		return
	}
	dir.Children = slices.DeleteFunc(dir.Children, func(e *tree.Entry) bool {
		p := path.Join(at, e.Name)
		switch {
		case e.IsWhiteout():
			marks.gone[p] = true
			return h.gone[p]
		case h.gone[p]:
			return true
		case e.IsDir():
			h.prune(e, p, oldest, marks)
			return h.replaced[p]
		}
		marks.replaced[p] = true
		return h.replaced[p] && !oldest
	})
}

// opaque reports whether a directory hides all that layers below have in it, by the
// mark that this process's overlays have. A step may set others.
func opaque(e *tree.Entry) bool {
	mark, ok := e.Xattr(userns.OverlayPrefix() + "opaque")
	return ok && string(mark) == "y"
}
