package op

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"bake.build/bake/platforms"
)

// header begins the tar entry of a file that belongs to o.
func (o owner) header(name string, typ byte, mode int64) *tar.Header {
	return &tar.Header{
		Typeflag: typ,
		Name:     name,
		Mode:     mode,
		Uid:      o.uid,
		Gid:      o.gid,
		ModTime:  platforms.FileTime,
		Format:   tar.FormatPAX,
	}
}

// writeTar streams what fill writes to the directory dst of the machine.
func writeTar(ctx context.Context, m platforms.Machine, dst string, fill func(*tar.Writer) error) error {
	pr, pw := io.Pipe()
	filled := make(chan error, 1)
	go func() {
		// A tree of small files is thousands of writes of one block otherwise.
		buf := bufio.NewWriterSize(pw, 256<<10)
		tw := tar.NewWriter(buf)
		err := fill(tw)
		if err == nil {
			err = errors.Join(tw.Close(), buf.Flush())
		}
		pw.CloseWithError(err)
		filled <- err
	}()
	err := m.Write(ctx, dst, pr)
	if err == nil {
		// The machine may stop at the archive's end mark; what fill says after it,
		// such as that an input had changed, is read here.
		_, err = io.Copy(io.Discard, pr)
	}
	pr.CloseWithError(errStopped)
	if fillErr := <-filled; fillErr != nil && !errors.Is(fillErr, errStopped) {
		return fillErr
	}
	if kept := (*platforms.DirError)(nil); errors.As(err, &kept) {
		return fmt.Errorf("%s is a directory of the machine, and a file or a link does not replace it: write to a path in it, or remove it in a step before", path.Join(dst, kept.Name))
	}
	return err
}

var errStopped = errors.New("the machine stopped reading")
