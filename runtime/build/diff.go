package build

import (
	"context"
	"slices"
	"strings"
)

// A FileChange is what became of one file between two layers.
type FileChange struct {
	What byte   // 'A' for added, 'M' for changed, 'R' for removed
	Path string // relative to the root
	Size int64  // bytes, of the file as it is, or as it was when it is gone
}

// Diff lists what the layer now has over the layer old, sorted by path. Files whose
// times alone differ are equal.
func Diff(ctx context.Context, old, now *Layer) ([]FileChange, error) {
	was, err := filesOf(ctx, old)
	if err != nil {
		return nil, err
	}
	is, err := filesOf(ctx, now)
	if err != nil {
		return nil, err
	}
	return compareFiles(ctx, was, is)
}

// A layerFiles is the file tree of one layer.
type layerFiles struct {
	*Layer
	files map[string]fileFacts // by the path relative to the root
}

func filesOf(ctx context.Context, layer *Layer) (*layerFiles, error) {
	l := &layerFiles{Layer: layer}
	err := l.Tree(ctx, func(dir string) (err error) {
		l.files, err = listFiles(ctx, dir)
		return err
	})
	return l, err
}

// compareFiles lists what now has over old, sorted by path. Files of equal
// metadata that are not the same inode are hashed.
func compareFiles(ctx context.Context, old, now *layerFiles) ([]FileChange, error) {
	var changes []FileChange
	var unsure []string
	for path, n := range now.files {
		o, ok := old.files[path]
		switch {
		case !ok:
			changes = append(changes, FileChange{'A', path, n.size})
		case !o.sameMetadata(n):
			changes = append(changes, FileChange{'M', path, n.size})
		case n.regular && !o.sameInode(n):
			unsure = append(unsure, path)
		}
	}
	for path, o := range old.files {
		if _, ok := now.files[path]; !ok {
			changes = append(changes, FileChange{'R', path, o.size})
		}
	}
	was, err := hashFiles(ctx, old, unsure)
	if err != nil {
		return nil, err
	}
	is, err := hashFiles(ctx, now, unsure)
	if err != nil {
		return nil, err
	}
	for _, path := range unsure {
		if was[path] != is[path] {
			changes = append(changes, FileChange{'M', path, now.files[path].size})
		}
	}
	slices.SortFunc(changes, func(a, b FileChange) int { return strings.Compare(a.Path, b.Path) })
	return changes, nil
}
