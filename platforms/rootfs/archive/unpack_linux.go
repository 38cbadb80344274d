package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"bake.build/bake/platforms"
)

// Unpack writes the entries of the tar stream r below the directory dst, which
// must exist. Entries replace what stands in their place, directories merge.
// An entry "." sets the metadata of dst itself. An error leaves what was
// unpacked so far. r is not read past the end of the archive.
func Unpack(ctx context.Context, dst string, r io.Reader, o Options) error {
	t, err := openTree(dst, o.Links)
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	defer t.close()
	u := &unpacker{tree: t, Options: o, touched: map[string]bool{}, known: map[inode]bool{}}
	t.changing, t.madeDir = u.touch, u.implied
	if o.Whiteouts == WhiteoutDelete {
		u.made = map[string]bool{}
	}
	u.read = &counter{r: r}
	tr := tar.NewReader(u.read)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return u.finish()
		}
		if err != nil {
			return fmt.Errorf("unpack: read archive: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
		if err := u.entry(ctx, h, tr); err != nil {
			return fmt.Errorf("unpack %q: %w", h.Name, err)
		}
	}
}

type unpacker struct {
	Options
	tree *tree
	made map[string]bool // names of this stream and their parents; nil unless whiteouts delete
	buf  []byte
	read *counter // of the stream

	dirs    []directory     // what directories get last; of one name the last counts
	touched map[string]bool // names of directories that are in dirs
	known   map[inode]bool  // and the directories, which links give other names
	pending []pending       // attributes that name users who may come later
}

// cleanName returns the name relative to the destination, or an error when it
// leaves the destination by itself.
func (o Options) cleanName(name string) (string, error) {
	if o.Whole && name != "" {
		if name = path.Clean(strings.TrimLeft(name, "/")); name == ".." || strings.HasPrefix(name, "../") {
			return "", errors.New(`entry escapes: name leads out through ".."`)
		}
		return name, nil
	}
	if name == "" || strings.HasPrefix(name, "/") {
		return "", errors.New("entry escapes: name is absolute or empty")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", errors.New(`entry escapes: name holds ".."`)
		}
	}
	return path.Clean(name), nil
}

func (u *unpacker) entry(ctx context.Context, h *tar.Header, r io.Reader) error {
	name, err := u.cleanName(h.Name)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil
	case tar.TypeChar, tar.TypeBlock:
		if u.NoDevices {
			return nil
		}
	}
	if u.Whiteouts != WhiteoutKeep {
		if base := path.Base(name); strings.HasPrefix(base, whiteoutPrefix) {
			return u.whiteout(path.Dir(name), base)
		}
	}
	if name == "." {
		if h.Typeflag != tar.TypeDir {
			return errors.New("the top entry is not a directory")
		}
		return u.topEntry(h)
	}
	dir, err := u.tree.parent(path.Dir(name))
	if err != nil {
		return err
	}
	if err := u.keepsDir(dir, name, h); err != nil {
		return err
	}
	if err := u.touch(path.Dir(name), dir); err != nil {
		return err
	}
	u.remember(name)
	return u.create(ctx, dir, name, h, r)
}

// keepsDir fails where the entry would replace a directory that is to be kept.
// A link may replace a link to a directory, as when it is set to another one.
func (u *unpacker) keepsDir(dir int, name string, h *tar.Header) error {
	if !u.KeepDirs || h.Typeflag == tar.TypeDir {
		return nil
	}
	is, err := u.tree.isDir(dir, path.Base(name), h.Typeflag != tar.TypeSymlink)
	if err == nil && is {
		err = &platforms.DirError{Name: name}
	}
	return err
}

func (u *unpacker) topEntry(h *tar.Header) error {
	return u.dirMeta(u.tree.root, ".", h, true)
}

func (u *unpacker) remember(name string) {
	if u.made == nil {
		return
	}
	for ; name != "." && !u.made[name]; name = path.Dir(name) {
		u.made[name] = true
	}
}

// create makes one entry in the directory dir.
func (u *unpacker) create(ctx context.Context, dir int, name string, h *tar.Header, r io.Reader) error {
	base := path.Base(name)
	switch h.Typeflag {
	case tar.TypeDir:
		return u.mkdir(dir, name, h)
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		return u.file(ctx, dir, base, h, r)
	case tar.TypeSymlink:
		if err := u.tree.remove(dir, base); err != nil {
			return err
		}
		if err := unix.Symlinkat(h.Linkname, dir, base); err != nil {
			return fmt.Errorf("make link: %w", err)
		}
		return u.meta(dir, base, h)
	case tar.TypeLink:
		return u.link(dir, base, h)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		if err := u.tree.remove(dir, base); err != nil {
			return err
		}
		if h.Typeflag == tar.TypeChar && h.Devmajor == 0 && h.Devminor == 0 {
			return errWhiteoutDevice
		}
		if err := unix.Mknodat(dir, base, nodeType(h.Typeflag)|0o600, nodeDevice(h)); err != nil {
			return fmt.Errorf("make node: %w", err)
		}
		return u.meta(dir, base, h)
	}
	return fmt.Errorf("entry of unknown type %q", h.Typeflag)
}

var errWhiteoutDevice = errors.New("character device 0:0: overlayfs takes it for the mark of a removed file, so it cannot be part of a layer")

func nodeType(flag byte) uint32 {
	switch flag {
	case tar.TypeChar:
		return unix.S_IFCHR
	case tar.TypeBlock:
		return unix.S_IFBLK
	}
	return unix.S_IFIFO
}

func nodeDevice(h *tar.Header) int {
	if h.Typeflag == tar.TypeFifo {
		return 0
	}
	return int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)))
}

func (u *unpacker) mkdir(dir int, name string, h *tar.Header) error {
	base := path.Base(name)
	isDir, err := u.tree.isDir(dir, base, u.KeepDirLinks)
	if err != nil {
		return err
	}
	if !isDir {
		if err := u.tree.remove(dir, base); err != nil {
			return err
		}
		if err := unix.Mkdirat(dir, base, 0o700); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	} else if u.tree.isLink(dir, base) {
		return nil // the link stays, and what it leads to keeps its metadata
	}
	return u.dirMeta(dir, name, h, isDir)
}

// link makes a hard link. The target's last element is not followed, so the
// link can only be to something inside of the tree.
func (u *unpacker) link(dir int, base string, h *tar.Header) error {
	target, err := u.cleanName(h.Linkname)
	if err != nil {
		// Some archivers write hard links from the root.
		if target, err = u.cleanName(strings.TrimLeft(h.Linkname, "/")); err != nil {
			return fmt.Errorf("link to %q: %w", h.Linkname, err)
		}
	}
	// The parent's descriptor may be closed when the next one is opened.
	dir, err = unix.FcntlInt(uintptr(dir), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	from, err := u.tree.existing(path.Dir(target))
	if err != nil {
		return fmt.Errorf("link to %q: %w", h.Linkname, err)
	}
	var a, b unix.Stat_t
	if err := unix.Fstatat(from, path.Base(target), &a, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("link to %q: %w", h.Linkname, err)
	}
	if unix.Fstatat(dir, base, &b, unix.AT_SYMLINK_NOFOLLOW) == nil && a.Dev == b.Dev && a.Ino == b.Ino {
		return nil // already so; clearing first would lose the file
	}
	if err := u.tree.remove(dir, base); err != nil {
		return err
	}
	if from, err = u.tree.existing(path.Dir(target)); err != nil {
		return fmt.Errorf("link to %q: %w", h.Linkname, err)
	}
	if err := unix.Linkat(from, path.Base(target), dir, base, 0); err != nil {
		return fmt.Errorf("link to %q: %w", h.Linkname, err)
	}
	return nil
}
