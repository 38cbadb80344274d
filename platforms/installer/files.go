package installer

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"bake.build/bake/internal/modroot"
	"bake.build/bake/internal/regular"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image/iso"
)

// filesOf returns the files below paths and those that are made. Two of one name are
// an error: which one holds would be a matter of luck.
func filesOf(paths []string, made platforms.Files) ([]iso.File, error) {
	var all []iso.File
	for _, path := range paths {
		files, err := filesBelow(path)
		if err != nil {
			return nil, err
		}
		all = append(all, files...)
	}
	for _, name := range slices.Sorted(maps.Keys(made)) {
		all = append(all, iso.Text(name, made[name]))
	}
	known := map[string]bool{}
	for _, f := range all {
		if known[f.Name] {
			return nil, fmt.Errorf("there are two files %q", f.Name)
		}
		known[f.Name] = true
	}
	return all, nil
}

// filesBelow returns a file, or what a folder holds.
func filesBelow(src string) ([]iso.File, error) {
	fi, err := os.Stat(src)
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		if err := regular.Check(fi); err != nil {
			return nil, fmt.Errorf("%s: %w", src, err)
		}
		return []iso.File{onDisk(filepath.Base(src), src, fi.Size())}, nil
	}
	var files []iso.File
	err = filepath.WalkDir(src, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && path != src && modroot.Is(path) {
			return fs.SkipDir // as in the key
		}
		if err != nil || e.IsDir() {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if err := regular.Check(info); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		name, err := filepath.Rel(src, path)
		files = append(files, onDisk(filepath.ToSlash(name), path, info.Size()))
		return err
	})
	return files, err
}

func onDisk(name, path string, size int64) iso.File {
	return iso.File{Name: name, Size: size, Open: func() (io.ReadCloser, error) { return regular.Open(path) }}
}
