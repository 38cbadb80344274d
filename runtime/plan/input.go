package plan

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"sort"

	"github.com/bmatcuk/doublestar/v4"

	"bake.build/bake/internal/modroot"
	"bake.build/bake/internal/regular"
	"bake.build/bake/internal/sparse"
)

// An Input is a file or a directory tree of the project that a node reads.
// Its digest covers the names, types and modes of what is in it, the
// targets of links and the content of files; not times and not owners.
type Input struct {
	Path    string   // absolute
	Exclude []string // patterns of paths relative to Path, as of doublestar
	Digest  Digest   // set by Seal
	Size    int64    // bytes of content, set by Seal
	Pos     []Pos    // where the definition names it
}

// An Entry is one file, directory or link of an Input.
type Entry struct {
	Rel  string      // slash-separated, relative to the input; "." for itself
	Path string      // absolute
	Info fs.FileInfo // as of lstat
	Link string      // target, when it is a symbolic link
}

// Mode returns the permission bits with the set-id bits and the sticky bit, as
// of chmod.
func (e Entry) Mode() uint32 {
	mode := uint32(e.Info.Mode().Perm())
	for bit, is := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if e.Info.Mode()&is != 0 {
			mode |= bit
		}
	}
	return mode
}

// Entries lists what the input holds, without modules below it, sorted by Rel. An input that is a single
// file has the one entry ".". Sockets, devices and pipes are an error.
func (in *Input) Entries() ([]Entry, error) {
	root, err := os.Stat(in.Path)
	if err != nil {
		return nil, err
	}
	if !root.IsDir() {
		if err := regular.Check(root); err != nil {
			return nil, fmt.Errorf("%s: %w", in.Path, err)
		}
		return []Entry{{Rel: ".", Path: in.Path, Info: root}}, nil
	}
	var entries []Entry
	err = filepath.WalkDir(in.Path, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(in.Path, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() && path != in.Path && modroot.Is(path) {
			return fs.SkipDir
		}
		for _, pattern := range in.Exclude {
			if ok, err := doublestar.Match(pattern, rel); err != nil {
				return fmt.Errorf("exclude %q: %w", pattern, err)
			} else if ok && d.IsDir() {
				return fs.SkipDir
			} else if ok {
				return nil
			}
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		e := Entry{Rel: rel, Path: path, Info: info}
		switch info.Mode().Type() {
		case 0, fs.ModeDir:
		case fs.ModeSymlink:
			if e.Link, err = os.Readlink(path); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s: %w", path, regular.Check(info))
		}
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].Rel < entries[j].Rel })
	return entries, nil
}

// A FileHasher hashes the content of a regular file. It may remember what it
// hashed for as long as the file's identity, size and times are the same.
type FileHasher interface {
	HashFile(path string, info fs.FileInfo) (Digest, error)
}

// Hash sets the digest and the size of the input.
func (in *Input) Hash(ctx context.Context, files FileHasher) error {
	entries, err := in.Entries()
	if err != nil {
		return err
	}
	in.Size = 0
	h := sha256.New()
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		writeEntry(h, e)
		if e.Info.Mode().IsRegular() {
			d, err := files.HashFile(e.Path, e.Info)
			if err != nil {
				return err
			}
			in.Size += e.Info.Size()
			writeString(h, string(d))
		}
	}
	in.Digest = Digest(hex.EncodeToString(h.Sum(nil)))
	return nil
}

// writeEntry writes what is hashed of an entry beside a file's content.
func writeEntry(h hash.Hash, e Entry) {
	writeString(h, e.Rel)
	writeString(h, e.Info.Mode().Type().String())
	writeString(h, fmt.Sprintf("%o", e.Mode()))
	writeString(h, e.Link)
}

// HashFile is the FileHasher that remembers nothing.
type HashFile struct{}

// HashFile implements FileHasher.
func (HashFile) HashFile(path string, _ fs.FileInfo) (d Digest, err error) {
	f, err := regular.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if err := sparse.CopyAll(context.Background(), h, f); err != nil {
		return "", fmt.Errorf("hash %s: %w", path, err)
	}
	return Digest(hex.EncodeToString(h.Sum(nil))), nil
}
