package origin

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/rootfs/overlay"
)

//go:embed disk.sh
var diskScript string

// importDisk copies the root file system of a disk image to tree.
func importDisk(ctx context.Context, opts Options, o platforms.Origin, tree string, h platforms.Host, out platforms.Sink) (err error) {
	s, err := sourceOf(opts, o)
	if err != nil {
		return err
	}
	if overlay.InUserNamespace() {
		return errors.New("disk: reading a disk image means mounting it, which only root can: run bake as root, or export the disk's tree to a tar archive")
	}
	if err := missing(toolProblem("qemu-img", "qemu-utils", "")); err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	path, err := s.local(ctx, h, out)
	if err != nil {
		return err
	}
	if s.digest != "" {
		if found, err := hashFile(ctx, path); err != nil {
			return fmt.Errorf("disk: %w", err)
		} else if found != s.digest {
			return s.mismatch(found)
		}
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
		return fmt.Errorf("disk %s: %w", s.name, errors.Join(ctx.Err(), err))
	}
	return stripOverlay(tree)
}

// An imageInfo is what qemu-img info says of an image.
type imageInfo struct {
	Format         string `json:"format"`
	Backing        string `json:"backing-filename"`
	FormatSpecific struct {
		Data struct {
			DataFile string `json:"data-file"`
			Extents  []struct {
				Filename string `json:"filename"`
			} `json:"extents"`
		} `json:"data"`
	} `json:"format-specific"`
}

// outside returns a file that the image refers to beside itself, or "". An
// image from elsewhere could name any file of this host, and the key of the
// layer covers the one file only.
func (i imageInfo) outside(image string) string {
	for _, name := range []string{i.Backing, i.FormatSpecific.Data.DataFile} {
		if name != "" {
			return name
		}
	}
	for _, e := range i.FormatSpecific.Data.Extents {
		if e.Filename != image {
			return e.Filename
		}
	}
	return ""
}

// rawDisk returns the path of the image as a raw disk, converted when need be.
func rawDisk(ctx context.Context, image, scratch string, out platforms.Sink) (string, error) {
	data, err := exec.CommandContext(ctx, "qemu-img", "info", "--output=json", "--", image).Output()
	if err != nil {
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			return "", fmt.Errorf("qemu-img: %s: %w", lastLine(string(exit.Stderr), err), err)
		}
		return "", err
	}
	var info imageInfo
	if err := json.Unmarshal(data, &info); err != nil {
		return "", fmt.Errorf("read what qemu-img says: %w", err)
	}
	if file := info.outside(image); file != "" {
		return "", fmt.Errorf("is not whole without the file %s: flatten it with qemu-img convert", file)
	}
	if info.Format == "raw" {
		return image, nil
	}
	raw := filepath.Join(scratch, "disk.raw")
	cmd := isolated(ctx, "qemu-img", "convert", "-f", info.Format, "-O", "raw", "--", image, raw)
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
