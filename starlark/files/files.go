// Package files finds the Starlark files of a project, for the verbs that work on
// many of them.
package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bake.build/bake/internal/modroot"
)

// Find returns the absolute paths of the Starlark files that paths name, as seen
// from dir, sorted and each once. A file that is named is taken whatever it is
// called. Of a directory those are taken, at any depth, for which match reports true
// of the base name. Hidden directories and those that are called testdata, vendor or
// bake.vendor are left out unless they are named, and so are links.
func Find(dir string, paths []string, match func(base string) bool) ([]string, error) {
	var found []string
	var errs []error
	for _, path := range paths {
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			errs = append(errs, fmt.Errorf("no file or directory %q", path))
		case err != nil:
			errs = append(errs, err)
		case info.IsDir():
			below, err := walk(path, match)
			found, errs = append(found, below...), append(errs, err)
		default:
			found = append(found, filepath.Clean(path))
		}
	}
	slices.Sort(found)
	return slices.Compact(found), errors.Join(errs...)
}

func walk(root string, match func(base string) bool) (found []string, err error) {
	root += string(filepath.Separator) + "." // which enters a link
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && leftOut(d.Name()):
			return fs.SkipDir
		case d.Type().IsRegular() && match(d.Name()):
			found = append(found, path)
		}
		return nil
	})
	return found, err
}

func leftOut(name string) bool {
	return strings.HasPrefix(name, ".") || name == "testdata" || name == "vendor" || name == "bake.vendor"
}

// IsDefinition reports whether a file of this base name holds definitions.
func IsDefinition(base string) bool { return strings.HasSuffix(base, ".star") }

// IsStarlark reports whether a file of this base name is in the syntax of Starlark:
// a definition, or what describes a module.
func IsStarlark(base string) bool { return IsDefinition(base) || base == modroot.File }
