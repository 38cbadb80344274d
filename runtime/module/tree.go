package module

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"bake.build/bake/runtime/plan"
	"bake.build/bake/starlark/module"
)

// The limits of a tree. They bound what a hostile archive costs.
const (
	maxFiles = 20_000
	maxBytes = 1 << 30
)

// A File is one entry of a tree.
type File struct {
	Path string // with slashes
	Exec bool
	Link string // the target; "" for a file
	Sum  string // SHA-256 of the content, in hex; "" for a link
}

// line returns what the digest has of the file.
func (f *File) line() string {
	kind, sum := "f", f.Sum
	switch {
	case f.Link != "":
		h := sha256.Sum256([]byte(f.Link))
		kind, sum = "l", hex.EncodeToString(h[:])
	case f.Exec:
		kind = "x"
	}
	return kind + " " + sum + " " + f.Path + "\n"
}

// digestOf returns the digest of a tree, and sorts its files. The files were checked
// by a names.
func digestOf(files []File) module.Digest {
	slices.SortFunc(files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	h := sha256.New()
	io.WriteString(h, "bake module tree 1\n") // a hash takes everything
	for i := range files {
		io.WriteString(h, files[i].line())
	}
	return module.Digest("sha256:" + hex.EncodeToString(h.Sum(nil)))
}

// HashDir returns the digest of the tree in a directory. It fails where the files are
// no tree: by a name that not every system has, or a link that leads out. Files are
// hashed by hasher, several at once.
func HashDir(ctx context.Context, dir string, hasher plan.FileHasher) (module.Digest, error) {
	paths, err := listDir(dir)
	if err != nil {
		return "", err
	}
	files, err := readFiles(ctx, dir, paths, hasher)
	if err != nil {
		return "", err
	}
	return digestOf(files), nil
}

// listDir lists what is in a directory and is of its tree.
func listDir(dir string) ([]string, error) {
	var paths []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case p == dir:
			return nil
		case strings.EqualFold(d.Name(), ".git") && d.IsDir():
			return filepath.SkipDir
		case strings.EqualFold(d.Name(), ".git"):
			return nil
		case d.IsDir():
			return nil
		}
		rel, err := filepath.Rel(dir, p)
		paths = append(paths, filepath.ToSlash(rel))
		return err
	})
	return paths, err
}

// nested are the directories of a tree that are modules of their own.
type nested map[string]bool

// nestedIn returns those among the paths of a tree.
func nestedIn(paths []string) nested {
	n := nested{}
	for _, p := range paths {
		if dir, name := path.Split(p); name == module.FileName && dir != "" {
			n[path.Clean(dir)] = true
		}
	}
	return n
}

// has reports whether a path is in one of them.
func (n nested) has(p string) bool {
	for at := path.Dir(p); at != "."; at = path.Dir(at) {
		if n[at] {
			return true
		}
	}
	return false
}

// readFiles describes the files of a directory with the paths given.
func readFiles(ctx context.Context, dir string, paths []string, hasher plan.FileHasher) ([]File, error) {
	if len(paths) > maxFiles {
		return nil, fmt.Errorf("%s: it has %d files, and a module at most %d", dir, len(paths), maxFiles)
	}
	names := newNames()
	for _, p := range paths {
		if err := names.add(p); err != nil {
			return nil, err
		}
	}
	files := make([]File, len(paths))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, p := range paths {
		g.Go(func() (err error) {
			if err := ctx.Err(); err != nil {
				return err
			}
			files[i], err = readFile(filepath.Join(dir, filepath.FromSlash(p)), p, hasher)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return files, checkLinks(files)
}

func readFile(name, p string, hasher plan.FileHasher) (File, error) {
	info, err := os.Lstat(name)
	if err != nil {
		return File{}, err
	}
	f := File{Path: p}
	switch info.Mode().Type() {
	case 0:
		sum, err := hasher.HashFile(name, info)
		f.Exec, f.Sum = isExec(info.Mode()), string(sum)
		return f, err
	case fs.ModeSymlink:
		f.Link, err = os.Readlink(name)
		f.Link = filepath.ToSlash(f.Link)
		return f, err
	}
	return f, fmt.Errorf("path %q: it is a %s, and a module has files and links only", p, kindOf(info.Mode()))
}

// isExec is git's rule: whether the owner may execute the file.
func isExec(m fs.FileMode) bool { return runtime.GOOS != "windows" && m&0o100 != 0 }

func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeDevice != 0:
		return "device"
	case m&fs.ModeNamedPipe != 0:
		return "pipe"
	case m&fs.ModeSocket != 0:
		return "socket"
	}
	return "special file"
}

// names are the paths of a tree, each checked by itself and against the others.
type names struct {
	files  map[string]bool
	folded map[string]string // of files and directories, as they are first written
}

func newNames() *names { return &names{map[string]bool{}, map[string]string{}} }

// add takes the path of a file or link.
func (n *names) add(p string) error {
	if err := checkPath(p); err != nil {
		return err
	}
	if n.files[p] {
		return fmt.Errorf("path %q: it is there twice", p)
	}
	if n.folded[fold(p)] == p {
		return fmt.Errorf("path %q: it is a directory and a file", p)
	}
	n.files[p] = true
	for at := p; at != "."; at = path.Dir(at) {
		if at != p && n.files[at] {
			return fmt.Errorf("path %q: %q is not a directory", p, at)
		}
		switch was, ok := n.folded[fold(at)]; {
		case ok && was != at:
			return fmt.Errorf("paths %q and %q: they differ in case alone, which not every system can tell", was, at)
		case ok:
			return nil // and so are those above
		}
		n.folded[fold(at)] = at
	}
	return nil
}

// checkLinks fails for a link that leads out of the tree, by itself or by others.
func checkLinks(files []File) error {
	links := map[string]string{}
	for _, f := range files {
		if f.Link != "" {
			links[f.Path] = f.Link
		}
	}
	for p, target := range links {
		if err := checkTarget(p, target, links); err != nil {
			return fmt.Errorf("link %q to %q: %w", p, target, err)
		}
	}
	return nil
}

// maxHops is how many links one path may lead over, as in Linux.
const maxHops = 40

var errLeads = errors.New("it leads out of the module")

// checkTarget follows a link as the kernel would, in the tree alone.
func checkTarget(p, target string, links map[string]string) error {
	if len(target) > 4095 || strings.ContainsAny(target, "\x00\\") {
		return errors.New("a link has at most 4095 bytes, with slashes")
	}
	var at []string // the directory that is reached
	if dir := path.Dir(p); dir != "." {
		at = strings.Split(dir, "/")
	}
	rest := strings.Split(target, "/")
	if path.IsAbs(target) || len(target) > 1 && target[1] == ':' {
		return errLeads
	}
	for hops := 1; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch {
		case name == "" || name == ".":
			continue
		case name == ".." && len(at) == 0:
			return errLeads
		case name == "..":
			at = at[:len(at)-1]
			continue
		}
		at = append(slices.Clip(at), name)
		next, isLink := links[strings.Join(at, "/")]
		if !isLink {
			continue
		}
		if hops++; hops > maxHops {
			return errors.New("it leads in a circle")
		}
		if path.IsAbs(next) {
			return errLeads
		}
		at = at[:len(at)-1]
		rest = append(strings.Split(next, "/"), rest...)
	}
	return nil
}
