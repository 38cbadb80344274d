//go:build !linux

package sparse

import (
	"io"
	"os"
)

// NextData returns the next range of f at or after off that may hold data, or
// io.EOF when there is none before size.
func NextData(f *os.File, off, size int64) (start, end int64, err error) {
	if off >= size {
		return 0, 0, io.EOF
	}
	return off, size, nil
}
