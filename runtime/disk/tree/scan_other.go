//go:build !linux

package tree

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

var errHost = fmt.Errorf("file trees can be read on Linux only, not on %s: %w", runtime.GOOS, errors.ErrUnsupported)

// Scan reads the metadata of everything below dir.
func Scan(dir string) (*Tree, error) { return nil, fmt.Errorf("scan %s: %w", dir, errHost) }

// Open opens a regular file of the tree that lies on the host.
func (t *Tree) Open(in *Inode) (*os.File, error) { return nil, errHost }
