//go:build !unix

package durable

import (
	"io/fs"
	"os"
)

// SyncDir does nothing: the system flushes names with the files themselves.
func SyncDir(string) error { return nil }

// keepOwner does nothing: a new file has the owner of its directory's others.
func keepOwner(*os.File, fs.FileInfo) error { return nil }
