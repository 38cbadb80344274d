package reference

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"bake.build/bake/starlark/doc"
)

// A Tree is a folder of Starlark files: the library, a module or a project.
type Tree struct {
	FS     fs.FS
	Prefix string // what load puts before the names of its files, such as "@bake//"
}

// Files reads the files at or below one path of the tree, "." for all. Below a folder,
// tests are left out, and folders for them or with a dot before their name, and files with
// an underscore before it, which are for the others of the tree. So are files of another
// module that not everybody may load.
func (t Tree) Files(under string) ([]*doc.File, error) {
	r := &treeReader{Tree: t, files: map[string]*doc.File{}}
	var files []*doc.File
	err := fs.WalkDir(t.FS, under, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != under && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case d.IsDir(), name != under && (path.Ext(name) != ".star" || strings.HasSuffix(name, "_test.star") || strings.HasPrefix(d.Name(), "_")):
			return nil
		}
		f, err := r.read(name)
		if err != nil {
			return fmt.Errorf("read documentation: %w", err)
		}
		if foreign := strings.HasPrefix(t.Prefix, "@"); name != under && foreign && len(f.Visibility) > 0 {
			return nil
		}
		files = append(files, f)
		return nil
	})
	for _, f := range files {
		f.Link(r.find)
	}
	return files, err
}

type treeReader struct {
	Tree
	files map[string]*doc.File
}

func (r *treeReader) read(name string) (*doc.File, error) {
	if f := r.files[name]; f != nil {
		return f, nil
	}
	text, err := fs.ReadFile(r.FS, name)
	if err != nil {
		return nil, err
	}
	f, err := doc.Parse(r.Prefix+name, text)
	if err == nil {
		r.files[name] = f
	}
	return f, err
}

// find returns the file of the tree that from loads as name, or nil: what cannot be read
// is no documentation of this tree.
func (r *treeReader) find(from, name string) *doc.File {
	rest, inTree := strings.CutPrefix(name, r.Prefix)
	switch rooted, ok := strings.CutPrefix(name, "//"); {
	case inTree:
		name = rest
	case ok:
		name = rooted
	case strings.HasPrefix(name, "@"):
		return nil
	default:
		name = path.Join(path.Dir(strings.TrimPrefix(from, r.Prefix)), name)
	}
	if !fs.ValidPath(name) {
		return nil
	}
	f, err := r.read(name)
	if err != nil {
		return nil
	}
	return f
}
