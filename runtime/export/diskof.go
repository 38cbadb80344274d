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

// DiskOf writes the raw disk with the key disk to the new file dst, from the artifact of
// dir where that was written from it and is as it was, wherever it waits for its tests.
// It returns false where there is none, or where no file of it says that disk to the
// byte. locate may be nil: a raw file alone is read then.
func DiskOf(ctx context.Context, dir string, disk plan.Key, files plan.FileHasher, locate Locator, dst string, logger platforms.Logger) (ok bool, err error) {
	for _, suffix := range append([]string{""}, Suffixes()...) {
		m, err := ReadManifest(dir + suffix)
		if err != nil || m.Disk != disk.String() {
			continue // another artifact, or none
		}
		if m, _, err = standing(dir+suffix, m.Key, files); err != nil {
			return false, err
		} else if m != nil {
			return m.disk(ctx, dir+suffix, locate, dst, logger)
		}
	}
	return false, nil
}

// disk writes the disk of an artifact in dir.
func (m *Manifest) disk(ctx context.Context, dir string, locate Locator, dst string, logger platforms.Logger) (ok bool, err error) {
	var files []File
	for _, f := range m.Files {
		if slices.Contains(exact, f.Format) && (locate != nil || f.Format == raw.Name) {
			files = append(files, f)
		}
	}
	if len(files) == 0 {
		return false, nil
	}
	slices.SortStableFunc(files, func(a, b File) int {
		return cmp.Compare(slices.Index(exact, a.Format), slices.Index(exact, b.Format))
	})
	f := files[0]
	path, err := filepath.Abs(filepath.Join(dir, filepath.FromSlash(f.Path)))
	if err != nil {
		return false, err
	}
	if err := readDisk(ctx, f, path, locate, dst, &sharedLogger{logger: logger}); err != nil {
		return false, errors.Join(err, os.RemoveAll(dst))
	}
	return true, nil
}

// A Locator returns how qemu-img is told of the image at path, whose format QEMU calls
// format, so that nothing else is opened for it. It fails for one that is not whole
// without another file.
type Locator func(path, format string) (string, error)

func readDisk(ctx context.Context, f File, path string, locate Locator, dst string, logger *sharedLogger) error {
	if f.Format == raw.Name {
		return copySparse(ctx, path, dst)
	}
	kind, _ := platforms.DiskFormatNamed(f.Format)
	locator, err := locate(path, kind.QEMU)
	if err != nil {
		return err
	}
	return qemuConvert(ctx, dst, func(done float64) {
		logger.progress("disk", int64(done/100*float64(f.Virtual)), f.Virtual)
	}, "-O", "raw", "--", locator)
}
