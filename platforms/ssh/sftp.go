package ssh

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/pkg/sftp"
)

// writeSFTP writes the entries of a tar stream one by one, for a machine that
// has no tar. Only root can do that with the owners that the stream gives.
func (m *Machine) writeSFTP(ctx context.Context, l *link, dst string, in io.Reader) (err error) {
	if m.c.user() != "root" {
		return errors.New("the machine has no tar, and without one only root can write files")
	}
	client, err := unlessGone(l, func() (*sftp.Client, error) {
		return sftp.NewClient(l.client, sftp.UseConcurrentWrites(true))
	})
	if err != nil {
		return fmt.Errorf("the machine has neither tar nor SFTP: %w", err)
	}
	defer func() { err = errors.Join(err, ignoreClosed(client.Close())) }()
	stop := context.AfterFunc(ctx, func() { _ = client.Close() })
	defer stop()
	if err := client.MkdirAll(dst); err != nil {
		return err
	}
	e := newEntries(ctx, l, dst)
	tr := tar.NewReader(in)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			if err = e.admit(h); err == nil {
				err = putEntry(client, dst, h, tr)
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// putEntry makes one file.
func putEntry(client *sftp.Client, dst string, h *tar.Header, content io.Reader) error {
	name := path.Join(dst, h.Name)
	if err := client.MkdirAll(path.Dir(name)); err != nil {
		return fmt.Errorf("%s: %w", path.Dir(name), err)
	}
	var err error
	switch h.Typeflag {
	case tar.TypeDir:
		err = client.MkdirAll(name)
	case tar.TypeSymlink:
		if err = removeAny(client, name); err == nil {
			err = client.Symlink(h.Linkname, name)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	case tar.TypeLink:
		if err = removeAny(client, name); err == nil {
			err = client.Link(path.Join(dst, h.Linkname), name)
		}
	case tar.TypeReg:
		err = putFile(client, name, content)
	default:
		err = errors.New("SFTP cannot make such a file")
	}
	if err == nil {
		err = client.Chown(name, h.Uid, h.Gid)
	}
	if err == nil {
		err = client.Chmod(name, h.FileInfo().Mode())
	}
	if err == nil && h.Typeflag != tar.TypeDir {
		err = client.Chtimes(name, h.ModTime, h.ModTime)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// putFile writes a file beside its place and moves it there. Writes run at the
// same time, so that one that failed has holes.
func putFile(client *sftp.Client, name string, content io.Reader) error {
	part := name + ".bake-part"
	f, err := client.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = f.ReadFrom(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = client.PosixRename(part, name)
	}
	if err != nil {
		return errors.Join(err, removeAny(client, part))
	}
	return nil
}

func removeAny(client *sftp.Client, name string) error {
	if err := client.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
