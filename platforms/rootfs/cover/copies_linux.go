package cover

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// settleCopies gives copies in /etc of a file that the cover has the content that
// the image has of it: resolvconf and systemd-resolved keep what they found of
// /etc/resolv.conf and put it back later, and "sed -i.bak" leaves one of /etc/hosts.
func (c *Cover) settleCopies(upper string) error {
	root, err := os.OpenRoot(upper)
	if err != nil {
		return err
	}
	defer root.Close()
	if fi, err := root.Lstat("etc"); errors.Is(err, fs.ErrNotExist) || err == nil && !fi.IsDir() {
		return nil
	}
	return fs.WalkDir(root.FS(), "etc", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		for i := range c.files {
			f := &c.files[i]
			if path.Dir(f.name) != "/etc" || fi.Size() != int64(len(f.data)) || "/"+name == f.name {
				continue
			}
			if err := f.settleCopy(root, name, fi); err != nil {
				return fmt.Errorf("settle copy of %s: %w", f.name, err)
			}
		}
		return nil
	})
}

func (f *file) settleCopy(root *os.Root, name string, fi fs.FileInfo) error {
	at, err := root.OpenFile(name, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer at.Close()
	now, err := io.ReadAll(io.LimitReader(at, maxFile))
	if err != nil || !bytes.Equal(now, f.data) {
		return err
	}
	if err := at.Truncate(0); err != nil {
		return err
	}
	if f.had != nil {
		if _, err := at.WriteAt(f.had.data, 0); err != nil {
			return err
		}
	}
	return root.Chtimes(name, fi.ModTime(), fi.ModTime())
}
