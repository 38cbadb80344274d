package sparse

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// NextData returns the next range of f at or after off that may hold data, or
// io.EOF when there is none before size.
func NextData(f *os.File, off, size int64) (start, end int64, err error) {
	start, err = unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return 0, 0, io.EOF
	}
	if errors.Is(err, unix.EINVAL) {
		return off, size, nil // the file system does not know
	}
	if err != nil {
		return 0, 0, &os.PathError{Op: "seek", Path: f.Name(), Err: err}
	}
	if end, err = unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE); err != nil {
		return 0, 0, &os.PathError{Op: "seek", Path: f.Name(), Err: err}
	}
	if start >= size {
		return 0, 0, io.EOF
	}
	return start, min(end, size), nil
}
