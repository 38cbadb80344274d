package fetch

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// TempPrefix begins the names of files of a cache that are being written.
const TempPrefix = ".tmp-"

// KeepUnused is how long a download that no build asked for stays in a cache.
const KeepUnused = 60 * 24 * time.Hour

// Prune removes what was not used since the time given, and what dead
// processes left.
func Prune(dir string, since time.Time) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var errs []error
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // removed by another process
		}
		old := info.ModTime().Before(since)
		if strings.HasPrefix(e.Name(), TempPrefix) {
			old = time.Since(info.ModTime()) > 24*time.Hour
		}
		if old {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(append(errs, err)...)
}

// A HashingFile hashes what is written to it.
type HashingFile struct {
	File *os.File // not embedded: its ReadFrom would pass the hash by
	Hash hash.Hash
}

func (f *HashingFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.Hash.Write(p[:n])
	return n, err
}

// Restart empties the file.
func (f *HashingFile) Restart() error {
	f.Hash.Reset()
	if err := f.File.Truncate(0); err != nil {
		return err
	}
	_, err := f.File.Seek(0, io.SeekStart)
	return err
}

// A Reader ends when its context does.
type Reader struct {
	Ctx context.Context
	R   io.Reader
}

func (r *Reader) Read(p []byte) (int, error) {
	if err := r.Ctx.Err(); err != nil {
		return 0, err
	}
	return r.R.Read(p)
}

// WithoutURL takes the URL out of an error of its parser: there may be a
// password in it.
func WithoutURL(err error) error {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		return fmt.Errorf("not a URL: %w", e.Err)
	}
	return err
}
