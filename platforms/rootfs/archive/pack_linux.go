package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bake.build/bake/internal/paxattr"
	"bake.build/bake/internal/sparse"
)

// Pack writes the file or directory at p to w as a tar stream in PAX format,
// directories before their entries, entries in the order of their names. Times
// are in whole seconds. Sockets are passed over. The tree must not change
// meanwhile.
func Pack(ctx context.Context, w io.Writer, p string, o Options) error {
	pk := &packer{Options: o, w: tar.NewWriter(w), ctx: ctx, seen: map[inode]string{}}
	name := o.Name
	if name == "" {
		name = "."
	}
	if err := pk.add(p, name); err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	if err := pk.w.Close(); err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	return nil
}

type inode struct{ dev, ino uint64 }

type packer struct {
	Options
	ctx  context.Context // of the one call of Pack
	w    *tar.Writer
	seen map[inode]string // files with several names
}

func (p *packer) add(file, name string) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	fi, err := os.Lstat(file)
	if err != nil {
		return err
	}
	if fi.Mode()&os.ModeSocket != 0 {
		return nil
	}
	st := fi.Sys().(*syscall.Stat_t)
	if p.Whiteouts == WhiteoutOverlay && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 {
		return p.marker(path.Join(path.Dir(name), whiteoutPrefix+path.Base(name)))
	}
	h, err := p.header(file, name, fi, st)
	if err != nil {
		return err
	}
	if (h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock) && p.NoDevices {
		return nil
	}
	if err := p.w.WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	switch h.Typeflag {
	case tar.TypeReg:
		return p.content(file, h.Size)
	case tar.TypeDir:
		return p.dir(file, name)
	}
	return nil
}

func (p *packer) header(file, name string, fi os.FileInfo, st *syscall.Stat_t) (*tar.Header, error) {
	h := &tar.Header{
		Name:    name,
		Mode:    int64(st.Mode & 0o7777),
		ModTime: fi.ModTime().Truncate(time.Second),
		Format:  tar.FormatPAX,
	}
	if !p.NoOwners {
		h.Uid, h.Gid = int(st.Uid), int(st.Gid)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		h.Typeflag = tar.TypeDir
		h.Name += "/"
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
		target, err := os.Readlink(file)
		if err != nil {
			return nil, err
		}
		h.Linkname = target
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(uint64(st.Rdev))), int64(unix.Minor(uint64(st.Rdev)))
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, st.Size
	default:
		return nil, fmt.Errorf("%s: file of unknown type %o", file, st.Mode)
	}
	if h.Typeflag != tar.TypeDir && st.Nlink > 1 {
		id := inode{uint64(st.Dev), st.Ino}
		if first, ok := p.seen[id]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return h, nil
		}
		p.seen[id] = name
	}
	return h, p.xattrs(file, h)
}

func (p *packer) xattrs(file string, h *tar.Header) error {
	names, err := listXattrs(file)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !p.wantsXattr(name) {
			continue
		}
		v, err := getXattr(file, name)
		if err != nil {
			return err
		}
		if h.PAXRecords, err = paxattr.Set(h.PAXRecords, name, []byte(v)); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

func (p *packer) content(file string, size int64) error {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: file, Err: err}
	}
	f := os.NewFile(uintptr(fd), file)
	defer f.Close()
	err = sparse.Copy(p.ctx, p.w, f, size, nil)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%s: became shorter while it was read", file)
	}
	return err
}

func (p *packer) dir(file, name string) error {
	if p.Whiteouts == WhiteoutOverlay {
		if v, err := getXattr(file, p.opaqueXattr()); err == nil && v == "y" {
			if err := p.marker(path.Join(name, whiteoutOpaque)); err != nil {
				return err
			}
		}
	}
	entries, err := os.ReadDir(file)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := p.add(filepath.Join(file, e.Name()), path.Join(name, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) marker(name string) error {
	return p.w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Format: tar.FormatPAX, ModTime: time.Unix(0, 0)})
}

// listXattrs returns no names where the file system has no attributes.
func listXattrs(file string) ([]string, error) {
	for {
		n, err := unix.Llistxattr(file, nil)
		if errors.Is(err, unix.ENOTSUP) || n == 0 && err == nil {
			return nil, nil
		}
		if err != nil {
			return nil, &os.PathError{Op: "list attributes", Path: file, Err: err}
		}
		b := make([]byte, n)
		n, err = unix.Llistxattr(file, b)
		if err == unix.ERANGE {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "list attributes", Path: file, Err: err}
		}
		return strings.Split(strings.TrimRight(string(b[:n]), "\x00"), "\x00"), nil
	}
}

func getXattr(file, name string) (string, error) {
	for {
		n, err := unix.Lgetxattr(file, name, nil)
		if err != nil || n == 0 {
			return "", err
		}
		b := make([]byte, n)
		n, err = unix.Lgetxattr(file, name, b)
		if err == unix.ERANGE {
			continue
		}
		return string(b[:max(n, 0)]), err
	}
}
