package origin

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image"
	"bake.build/bake/platforms/image/root"
)

// importDisk copies the root file system of a disk image to tree.
func importDisk(ctx context.Context, opts Options, o platforms.Origin, tree string, h platforms.Host, out platforms.Logger) (err error) {
	s, err := opts.file(o)
	if err != nil {
		return err
	}
	if err := root.Check(); err != nil {
		return fmt.Errorf("disk: %w: run bake as root, or export the disk's tree to a tar archive", err)
	}
	if err := missing(toolProblem("qemu-img", "qemu-utils", "")); err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	path, err := s.Verified(ctx, h, out)
	if err != nil {
		return err
	}
	scratch, remove, err := h.TempDir("disk")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	raw, err := rawDisk(ctx, path, scratch, out)
	if err == nil {
		err = copyRoot(ctx, raw, tree, scratch, out)
	}
	if err == nil {
		err = refuseMarks(tree)
	}
	if err != nil {
		return fmt.Errorf("disk %s: %w", s.Name, errors.Join(ctx.Err(), err))
	}
	return stripOverlay(tree)
}

// rawDisk returns the path of what path holds as a raw disk: the image of one, which may
// be compressed, or the first disk of a machine that is described there.
func rawDisk(ctx context.Context, path, scratch string, out platforms.Logger) (string, error) {
	tell := func(what string) func(done, total int64) {
		return func(done, total int64) { out.Progress(what, done, total) }
	}
	path, err := image.Unpack(ctx, path, scratch, tell("decompress the disk"))
	if err != nil {
		return "", err
	}
	m, err := image.OpenOrigin(path)
	if err != nil {
		return "", err
	}
	if m != nil {
		path, err = m.Disk(ctx, 0, scratch, tell("extract the disk"))
		if err = errors.Join(err, m.Close()); err != nil {
			return "", err
		}
		if path == "" {
			return "", fmt.Errorf("the first disk of the %s is empty", m.Kind)
		}
	}
	n, err := image.Open(path, "")
	if err != nil {
		return "", err
	}
	if n.Driver == "raw" {
		return path, nil
	}
	source, err := n.Locator()
	if err != nil {
		return "", err
	}
	raw := filepath.Join(scratch, "disk.raw")
	cmd := isolated(ctx, "qemu-img", "convert", "-O", "raw", "--", source, raw)
	log := &tail{to: out}
	cmd.Stdout, cmd.Stderr = log, log
	if err := run(cmd); err != nil {
		return "", fmt.Errorf("convert to raw: %w", log.explain(err))
	}
	return raw, nil
}

// copyFiles is how file systems are copied, from the first argument to the second.
// Each has its own lost+found.
const copyFiles = `LC_ALL=C.UTF-8 cp --archive --sparse=auto -- "$1/." "$2" && find "$2" -maxdepth 4 -type d -name lost+found -empty -delete`

// copyRoot copies the files of the disk as its machine sees them.
func copyRoot(ctx context.Context, raw, tree, scratch string, out platforms.Logger) error {
	return root.Open(ctx, raw, scratch, func(dir string) error {
		cmd := isolated(ctx, "/bin/sh", "-c", copyFiles, "sh", dir, tree)
		log := &tail{to: out}
		cmd.Stdout, cmd.Stderr = log, log
		if err := run(cmd); err != nil {
			return log.explain(err)
		}
		return nil
	})
}
