package origin

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image"
	"bake.build/bake/platforms/rootfs/overlay"
)

//go:embed disk.sh
var diskScript string

// importDisk copies the root file system of a disk image to tree.
func importDisk(ctx context.Context, opts Options, o platforms.Origin, tree string, h platforms.Host, out platforms.Sink) (err error) {
	s, err := opts.file(o)
	if err != nil {
		return err
	}
	if overlay.InUserNamespace() {
		return errors.New("disk: reading a disk image means mounting it, which only root can: run bake as root, or export the disk's tree to a tar archive")
	}
	if err := missing(toolProblem("qemu-img", "qemu-utils", "")); err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	path, err := s.Local(ctx, h, out)
	if err != nil {
		return err
	}
	if err := s.Verify(ctx, path); err != nil {
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
	if err != nil {
		return fmt.Errorf("disk %s: %w", s.Name, errors.Join(ctx.Err(), err))
	}
	return stripOverlay(tree)
}

// rawDisk returns the path of the image as a raw disk, converted when need be.
func rawDisk(ctx context.Context, path, scratch string, out platforms.Sink) (string, error) {
	info, err := image.Probe(ctx, path)
	if err != nil {
		return "", err
	}
	if info.Format == "raw" {
		return path, nil
	}
	raw := filepath.Join(scratch, "disk.raw")
	cmd := isolated(ctx, "qemu-img", "convert", "-f", info.Format, "-O", "raw", "--", path, raw)
	log := &tail{to: out}
	cmd.Stdout, cmd.Stderr = log, log
	if err := run(cmd); err != nil {
		return "", fmt.Errorf("convert to raw: %w", log.explain(err))
	}
	return raw, nil
}

// copyRoot copies the largest file system that looks like a root.
func copyRoot(ctx context.Context, raw, tree, scratch string, out platforms.Sink) (err error) {
	candidates, err := rootCandidates(raw)
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(scratch, "mnt"), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(scratch, "disk.sh"), []byte(diskScript), 0o644); err != nil {
		return err
	}
	args := append([]string{"disk.sh", raw, tree}, candidates...)
	cmd := isolated(ctx, "/bin/sh", args...)
	cmd.Dir = scratch
	log := &tail{to: out}
	cmd.Stdout, cmd.Stderr = log, log
	if err := run(cmd); err != nil {
		return log.explain(err)
	}
	return nil
}

// rootCandidates returns "fstype:start:size" of each file system of the disk,
// the largest first.
func rootCandidates(raw string) (list []string, err error) {
	f, err := os.Open(raw)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	parts, err := partitions(f, info.Size())
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(parts, func(a, b partition) int { return cmp.Compare(b.size, a.size) })
	var unknown []string
	for _, p := range parts {
		fs, err := fileSystem(f, p)
		switch {
		case err != nil:
			return nil, err
		case fs == "LVM" || fs == "LUKS":
			unknown = append(unknown, fs)
		case fs != "":
			list = append(list, fmt.Sprintf("%s:%d:%d", fs, p.start, p.size))
		}
	}
	if len(list) == 0 && len(unknown) > 0 {
		return nil, fmt.Errorf("its file systems are inside of %s, which bake does not open", strings.Join(unknown, " and "))
	}
	if len(list) == 0 {
		return nil, errors.New("no partition of it holds a file system that a machine has for its root")
	}
	return list, nil
}
