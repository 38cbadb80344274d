// Package modroot says which directories are roots of modules. The files of a module are
// those below its root without those of the modules below it, as in Go: a module sees
// its own files alone, and what is published of it is what it sees.
package modroot

import (
	"os"
	"path/filepath"
)

// File is the name of the file that makes a directory the root of a module.
const File = "bake.mod"

// Is reports whether the directory dir is the root of a module.
func Is(dir string) bool {
	info, err := os.Lstat(filepath.Join(dir, File))
	return err == nil && !info.IsDir()
}

// Above returns the module that the file or directory path is of, where that is one
// below the module or project in root; otherwise "". path is below root.
func Above(root, path string) string {
	for at := path; at != root && at != filepath.Dir(at); at = filepath.Dir(at) {
		if Is(at) {
			return at
		}
	}
	return ""
}
