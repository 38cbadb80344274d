//go:build !linux

package archive

import (
	"context"
	"errors"
	"io"
	"time"
)

var errLinux = errors.New("archive: file trees of machines can be handled on Linux only")

// Unpack writes the entries of the tar stream r below the directory dst.
func Unpack(ctx context.Context, dst string, r io.Reader, o Options) error { return errLinux }

// Pack writes the file or directory at path to w as a tar stream.
func Pack(ctx context.Context, w io.Writer, path string, o Options) error { return errLinux }

// NewDir makes a directory that has nothing of where it is made.
func NewDir(name string, mode uint32) error { return errLinux }

// ChangeTime returns when the file was last changed.
func ChangeTime(name string) (time.Time, error) { return time.Time{}, errLinux }

// ClampTimes sets the times of a tree that say when it was made.
func ClampTimes(dir string, since, to time.Time) (newest time.Time, err error) {
	return time.Time{}, errLinux
}
