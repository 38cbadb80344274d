package export

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"bake.build/bake/internal/paxattr"
	"bake.build/bake/internal/sparse"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/disk/tree"
)

var tarPlain = tarFormat("tar", ".tar", "The file tree as a tar archive (PAX).", codecNone)
var tarZstd = tarFormat("tar.zst", ".tar.zst", "The file tree as a tar archive, compressed with zstd.", codecZstd)
var tarGzip = tarFormat("tar.gz", ".tar.gz", "The file tree as a tar archive, compressed with gzip.", codecGzip)

func tarFormat(name, ext, doc string, c codec) Format {
	return Format{
		Name: name, Ext: ext, From: FromTree,
		Doc: doc + " It keeps owners, extended attributes, ACLs, hard links and devices. A file with holes is written as GNU tar -S does, in the sparse format 1.0: GNU tar, bsdtar, Go and bake read it, busybox does not.",
		Write: func(ctx context.Context, j *Job, out string) error {
			return j.Tree(ctx, func(dir string) error {
				t, err := tree.Scan(dir)
				if err != nil {
					return err
				}
				total := t.Usage().Bytes
				return create(out, func(w io.Writer) error {
					return c.compress(ctx, w, func(w io.Writer) error {
						return writeTar(ctx, w, t, tarOptions{holes: true}, func(done int64) { j.Progress(name, done, total) })
					})
				})
			})
		},
	}
}

// create makes a new file with what fill writes.
func create(out string, fill func(w io.Writer) error) (err error) {
	f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return fill(f)
}

// A translator changes an entry of a tree on its way into an archive: it
// returns the headers to be written in its place, of which the first may be
// hdr itself, to be followed by the file's content.
type translator func(hdr *tar.Header, e *tree.Entry) ([]*tar.Header, error)

// tarOptions say what the reader of an archive knows.
type tarOptions struct {
	translate translator // nil leaves entries as they are
	holes     bool       // it knows files with holes
}

// writeTar writes the tree to w. It reads the tree on the calling goroutine.
func writeTar(ctx context.Context, w io.Writer, t *tree.Tree, o tarOptions, progress func(done int64)) error {
	a := &archive{tarOptions: o, ctx: ctx, t: t, w: tar.NewWriter(w), raw: w, names: map[*tree.Inode]string{}, progress: progress}
	if err := t.Walk(a.entry); err != nil {
		return err
	}
	return a.w.Close()
}

type archive struct {
	tarOptions
	ctx      context.Context
	t        *tree.Tree
	w        *tar.Writer
	raw      io.Writer              // what w writes to
	names    map[*tree.Inode]string // the first name of files with several
	progress func(int64)
	done     int64
}

func (a *archive) entry(p string, e *tree.Entry) error {
	if err := a.ctx.Err(); err != nil {
		return err
	}
	hdr, err := header(p, e)
	if err != nil || hdr == nil {
		return err
	}
	if e.Links > 1 && !e.IsWhiteout() {
		if first, ok := a.names[e.Inode]; ok {
			hdr.Typeflag, hdr.Linkname, hdr.Size, hdr.PAXRecords = tar.TypeLink, first, 0, nil
		} else {
			a.names[e.Inode] = hdr.Name
		}
	}
	list := []*tar.Header{hdr}
	if a.translate != nil {
		if list, err = a.translate(hdr, e); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	for _, h := range list {
		content := h == hdr && h.Typeflag == tar.TypeReg
		if content && a.holes && e.Stored < e.Size {
			if err := a.sparse(h, e.Inode); err != nil {
				return fmt.Errorf("%s: %w", p, err)
			}
			continue
		}
		if err := a.w.WriteHeader(h); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		if content {
			if err := a.content(e.Inode); err != nil {
				return fmt.Errorf("%s: %w", p, err)
			}
		}
	}
	return nil
}

func (a *archive) content(in *tree.Inode) (err error) {
	r, err := a.t.Content(in)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if f, ok := r.(*os.File); ok && in.Stored < in.Size {
		err = sparse.Copy(a.ctx, a.w, f, in.Size, nil)
	} else if _, err = io.CopyN(a.w, r, in.Size); err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return a.read(in, err)
}

// sparse writes a file without its holes.
func (a *archive) sparse(h *tar.Header, in *tree.Inode) (err error) {
	f, err := a.t.Open(in)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return a.read(in, sparse.WriteTar(a.ctx, a.w, a.raw, h, f))
}

// read tells that a file was read, and explains why it was not.
func (a *archive) read(in *tree.Inode, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the file became shorter while it was read")
	}
	if a.done += in.Stored; a.progress != nil {
		a.progress(a.done)
	}
	return err
}

// header returns the header of an entry, or nil for a socket, which no archive
// can hold.
func header(p string, e *tree.Entry) (h *tar.Header, err error) {
	h = &tar.Header{
		Name: p, Mode: int64(e.Mode & 0o7777), Uid: int(e.UID), Gid: int(e.GID),
		ModTime: time.Unix(e.Sec, int64(e.Nsec)), Format: tar.FormatPAX,
	}
	switch e.Type() {
	case tree.TypeRegular:
		h.Typeflag, h.Size = tar.TypeReg, e.Size
	case tree.TypeDir:
		h.Typeflag, h.Name = tar.TypeDir, p+"/"
	case tree.TypeSymlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.Target
	case tree.TypeChar:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, int64(e.Major), int64(e.Minor)
	case tree.TypeBlock:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeBlock, int64(e.Major), int64(e.Minor)
	case tree.TypePipe:
		h.Typeflag = tar.TypeFifo
	default:
		return nil, nil
	}
	for _, x := range e.Xattrs {
		if h.PAXRecords, err = paxattr.Set(h.PAXRecords, x.Name, x.Value); err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
	}
	return h, nil
}

// Names of the files by which OCI layers mark what is removed.
const (
	whiteoutPrefix = ".wh."
	opaqueName     = ".wh..wh..opq"
)

// fromOverlay translates an overlay's upper directory into an OCI layer: the
// marks of what is removed become files, and attributes of the overlay's own
// are left out. Only those with the prefix own are marks: a step may have set the
// others, which hide nothing.
func fromOverlay(own string) func(hdr *tar.Header, e *tree.Entry) ([]*tar.Header, error) {
	return func(hdr *tar.Header, e *tree.Entry) ([]*tar.Header, error) { return translate(hdr, e, own) }
}

func translate(hdr *tar.Header, e *tree.Entry, own string) ([]*tar.Header, error) {
	if strings.HasPrefix(e.Name, whiteoutPrefix) {
		return nil, errWhiteoutName
	}
	// When something was removed is no part of the image.
	mark := func(name string) *tar.Header {
		return &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, ModTime: platforms.FileTime, Format: tar.FormatPAX}
	}
	if e.IsWhiteout() {
		dir, base := path.Split(hdr.Name)
		return []*tar.Header{mark(dir + whiteoutPrefix + base)}, nil
	}
	list := []*tar.Header{hdr}
	for name, value := range hdr.PAXRecords {
		attr := strings.TrimPrefix(name, "SCHILY.xattr.")
		if !strings.HasPrefix(attr, "trusted.overlay.") && !strings.HasPrefix(attr, "user.overlay.") {
			continue
		}
		delete(hdr.PAXRecords, name)
		if attr == own+"opaque" && value == "y" && e.IsDir() {
			list = append(list, mark(hdr.Name+opaqueName))
		}
	}
	return list, nil
}

var errWhiteoutName = errors.New("a name that begins with \".wh.\" is the mark of a removed file to every reader of OCI layers: the formats oci and docker cannot have it")
