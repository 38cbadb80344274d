package build

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"bake.build/bake/runtime/plan"
)

// A fileFacts is what is compared of a file without reading it.
type fileFacts struct {
	regular bool
	mode    uint32 // type and permission bits
	uid     uint32
	gid     uint32
	rdev    uint64
	size    int64  // bytes; 0 for what is not a regular file
	link    string // target of a symbolic link

	ino   uint64
	mtime syscall.Timespec
	ctime syscall.Timespec
}

// sameMetadata reports whether the files differ at most in their content and
// their times.
func (f fileFacts) sameMetadata(g fileFacts) bool {
	return f.mode == g.mode && f.uid == g.uid && f.gid == g.gid && f.rdev == g.rdev && f.size == g.size && f.link == g.link
}

// sameInode reports whether the files are one file of a common layer.
func (f fileFacts) sameInode(g fileFacts) bool {
	return f.ino == g.ino && f.mtime == g.mtime && f.ctime == g.ctime
}

// listFiles lists the files below dir, without dir itself.
func listFiles(ctx context.Context, dir string) (map[string]fileFacts, error) {
	files := make(map[string]fileFacts)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		f := fileFacts{mode: st.Mode, uid: st.Uid, gid: st.Gid, rdev: uint64(st.Rdev), ino: st.Ino, mtime: st.Mtim, ctime: st.Ctim}
		switch {
		case info.Mode().IsRegular():
			f.regular, f.size = true, info.Size()
		case info.Mode()&fs.ModeSymlink != 0:
			if f.link, err = os.Readlink(path); err != nil {
				return err
			}
		}
		rel, err := filepath.Rel(dir, path)
		files[rel] = f
		return err
	})
	return files, err
}

// hashFiles returns the digests of some files of a layer.
func hashFiles(ctx context.Context, l *layerFiles, paths []string) (map[string]plan.Digest, error) {
	digests := make(map[string]plan.Digest, len(paths))
	if len(paths) == 0 {
		return digests, nil
	}
	err := l.Tree(ctx, func(dir string) error {
		for _, p := range paths {
			if err := ctx.Err(); err != nil {
				return err
			}
			d, err := plan.HashFile{}.HashFile(filepath.Join(dir, p), nil)
			if err != nil {
				return err
			}
			digests[p] = d
		}
		return nil
	})
	return digests, err
}
