package export

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
)

// exact are the formats whose disk is to the byte the one that they were written from,
// in the order in which they are read the fastest. A VHD has whole MiB.
var exact = []string{raw.Name, qcow2.Name, vdi.Name, vmdkSparse.Name, vmdkStream.Name}

// A DiskReader reads disks back from the artifacts that were written from them.
type DiskReader struct {
	Files plan.FileHasher // digests of files

	// Wrote reports whether this host has written the file with a digest from the disk
	// with a key. A manifest says so too, and anybody may have written that.
	Wrote func(disk plan.Key, file plan.Digest) bool

	// Locate tells qemu-img of images. Where it is nil, raw files alone are read.
	Locate Locator
}

// Read writes the raw disk with the key disk to the new file dst, from the artifact of
// dir where that was written from it and is as it was, wherever it waits for its tests.
// It returns false where there is none, or where no file of it says that disk to the
// byte.
func (r DiskReader) Read(ctx context.Context, dir string, disk plan.Key, dst string, logger platforms.Logger) (ok bool, err error) {
	for _, suffix := range append([]string{""}, Suffixes()...) {
		m, err := ReadManifest(dir + suffix)
		if err != nil || m.Disk != disk.String() {
			continue // another artifact, or none
		}
		if m, _, err = standing(dir+suffix, m.Key, r.Files); err != nil {
			return false, err
		} else if m == nil {
			continue
		}
		files := slices.DeleteFunc(slices.Clone(m.Files), func(f File) bool {
			return !slices.Contains(exact, f.Format) || r.Locate == nil && f.Format != raw.Name || !r.Wrote(disk, f.SHA256)
		})
		if len(files) > 0 {
			return true, r.read(ctx, dir+suffix, files, dst, logger)
		}
	}
	return false, nil
}

// read writes the disk that all of the files in dir say.
func (r DiskReader) read(ctx context.Context, dir string, files []File, dst string, logger platforms.Logger) error {
	slices.SortStableFunc(files, func(a, b File) int {
		return cmp.Compare(slices.Index(exact, a.Format), slices.Index(exact, b.Format))
	})
	f := files[0]
	path, err := filepath.Abs(filepath.Join(dir, filepath.FromSlash(f.Path)))
	if err == nil {
		err = r.convert(ctx, f, path, dst, &sharedLogger{logger: logger})
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(dst))
	}
	return nil
}

// A Locator returns how qemu-img is told of the image at path, whose format QEMU calls
// format, so that nothing else is opened for it. It fails for one that is not whole
// without another file.
type Locator func(path, format string) (string, error)

func (r DiskReader) convert(ctx context.Context, f File, path, dst string, logger *sharedLogger) error {
	if f.Format == raw.Name {
		return copySparse(ctx, path, dst)
	}
	kind, _ := platforms.DiskFormatNamed(f.Format)
	locator, err := r.Locate(path, kind.QEMU)
	if err != nil {
		return err
	}
	return qemuConvert(ctx, dst, func(done float64) {
		logger.progress("disk", int64(done/100*float64(f.Virtual)), f.Virtual)
	}, "-O", "raw", "--", locator)
}
