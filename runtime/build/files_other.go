//go:build !linux

package build

import (
	"context"
	"errors"

	"bake.build/bake/runtime/plan"
)

var errNoTrees = errors.New("comparing the files of layers needs Linux")

// A fileFacts is what is compared of a file without reading it.
type fileFacts struct {
	regular bool
	size    int64
}

func (fileFacts) sameMetadata(fileFacts) bool { return false }
func (fileFacts) sameInode(fileFacts) bool    { return false }

func listFiles(context.Context, string) (map[string]fileFacts, error) { return nil, errNoTrees }

func hashFiles(context.Context, *layerFiles, []string) (map[string]plan.Digest, error) {
	return nil, errNoTrees
}
