package export

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"bake.build/bake/internal/regular"
	"bake.build/bake/runtime/plan"
)

// Current reports whether the artifact in dir was made for key and every file
// of it is as it was written. When it is not, m is nil and why says so in a few
// words. Digests come from files, which may remember them. What dead processes
// left beside dir is removed.
func Current(dir string, key plan.Key, files plan.FileHasher) (m *Manifest, why string, err error) {
	if err := sweep(filepath.Dir(dir)); err != nil {
		return nil, "", err
	}
	return standing(dir, key.String(), files)
}

// standing is Current without a look at what is beside dir.
func standing(dir, key string, files plan.FileHasher) (m *Manifest, why string, err error) {
	m, err = ReadManifest(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "no artifact yet", nil
	} else if err != nil {
		return nil, "its manifest cannot be read", nil
	}
	if m.Key != key {
		return nil, "made from something else", nil
	}
	for _, f := range m.Files {
		why, err := f.differs(dir, files)
		if why != "" || err != nil {
			return nil, why, err
		}
	}
	sums, err := regular.Read(filepath.Join(dir, SumsName), maxManifest)
	if err != nil || string(sums) != m.Sums() {
		return nil, SumsName + " was changed", nil
	}
	return m, "", nil
}

// differs says how the file in dir is not what it was, or "".
func (f *File) differs(dir string, files plan.FileHasher) (why string, err error) {
	p := filepath.Join(dir, filepath.FromSlash(f.Path))
	info, err := os.Lstat(p)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f.Path + " is gone", nil
	case err != nil:
		return "", err
	case !info.Mode().IsRegular() || info.Size() != f.Size:
		return f.Path + " was changed", nil
	}
	d, err := files.HashFile(p, info)
	if err != nil {
		return "", fmt.Errorf("check artifact: %w", err)
	}
	if d != f.SHA256 {
		return f.Path + " was changed", nil
	}
	return "", nil
}
