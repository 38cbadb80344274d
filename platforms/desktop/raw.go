package desktop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image"
)

// raw returns the path of a raw image of the disk that the image at path holds, and
// whether it is a file of bake's own: path itself is used as it is where it is one. The
// path "" is an empty disk of capacity bytes.
func (d *Driver) raw(ctx context.Context, path string, capacity int64, dst string, out platforms.Logger) (raw string, own bool, err error) {
	if path == "" {
		return dst, true, empty(dst, capacity)
	}
	n, err := image.Open(path, "")
	if err != nil {
		return "", false, err
	}
	if n.Driver == "raw" {
		return path, false, nil
	}
	if err := image.CheckWhole(ctx, n); err != nil {
		return "", false, err
	}
	out.Progress("convert the disk", 0, n.Size)
	if err := n.ConvertRaw(ctx, dst); err != nil {
		return "", false, err
	}
	return dst, true, nil
}

// WriteMedium makes the new medium dst that holds the raw disk in the file raw.
func WriteMedium(ctx context.Context, m Media, dst, raw string) (err error) {
	in, err := os.Open(raw)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	size, err := in.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = in.Seek(0, io.SeekStart)
	}
	if err != nil {
		return err
	}
	return create(dst, func(out *os.File) error { return m.Write(ctx, out, in, size) })
}

// ReadMedia writes the disk that a chain of media holds to the new file raw.
func ReadMedia(ctx context.Context, m Media, chain []string, raw string, progress func(done, total int64)) error {
	return create(raw, func(out *os.File) error { return m.Read(ctx, out, chain, progress) })
}

// create has write fill a new file.
func create(path string, write func(*os.File) error) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// empty makes a file of holes.
func empty(path string, size int64) error {
	if size <= 0 {
		return errors.New("an empty disk without a size")
	}
	return create(path, func(f *os.File) error { return f.Truncate(size) })
}

// grow returns a raw image of size bytes with what is in the one at path, which is
// changed where it is bake's own.
func grow(ctx context.Context, path string, own bool, size int64, scratch string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	switch {
	case info.Size() > size:
		return "", fmt.Errorf("the disk has %s, which does not fit in disk_size = %q", platforms.FormatSize(info.Size()), platforms.FormatSize(size))
	case info.Size() == size:
		return path, nil
	case !own:
		dst := filepath.Join(scratch, "grown.raw")
		if err := copyFile(ctx, dst, path); err != nil {
			return "", err
		}
		path = dst
	}
	return path, os.Truncate(path, size)
}

// CheckTools returns what this host lacks to take disks of other formats.
func CheckTools() []platforms.Problem {
	if _, err := exec.LookPath("qemu-img"); err == nil {
		return nil
	}
	var problems []platforms.Problem
	for _, kind := range []string{"disk", "ova", "ovf", "box"} {
		problems = append(problems, platforms.Problem{
			What: "qemu-img is not installed", Fix: "apt-get install qemu-utils", Need: kind + " origins", Origin: kind,
		})
	}
	return problems
}
