//go:build !linux

package tree

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
)

var errHost = fmt.Errorf("file trees can be read on Linux only, not on %s: %w", runtime.GOOS, errors.ErrUnsupported)

// Scan reads the metadata of everything below dir.
func Scan(dir string) (*Tree, error) { return nil, fmt.Errorf("scan %s: %w", dir, errHost) }

// Open opens a regular file of the tree that lies on the host.
func (t *Tree) Open(in *Inode) (*os.File, error) { return nil, errHost }

// NextData returns the next range of f at or after off that may hold data, or
// io.EOF when there is none before size.
func NextData(f *os.File, off, size int64) (start, end int64, err error) {
	if off >= size {
		return 0, 0, io.EOF
	}
	return off, size, nil
}
