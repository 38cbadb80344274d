package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"bake.build/bake/internal/ovf"
	"bake.build/bake/internal/sparse"
	"bake.build/bake/internal/tool"
	"bake.build/bake/runtime/disk/drivers"
)

var xz = Tool{"xz", "xz-utils"}

var rawGzip = Format{
	Name: "raw.gz", Ext: ".raw.gz", From: FromDisk, RunsOn: &drivers.KVM,
	Doc:   "The disk, compressed with gzip.",
	Write: func(ctx context.Context, j *Job, out string) error { return j.packRaw(ctx, out, codecGzip) },
}

var rawZstd = Format{
	Name: "raw.zst", Ext: ".raw.zst", From: FromDisk, RunsOn: &drivers.KVM,
	Doc:   "The disk, compressed with zstd.",
	Write: func(ctx context.Context, j *Job, out string) error { return j.packRaw(ctx, out, codecZstd) },
}

var rawXZ = Format{
	Name: "raw.xz", Ext: ".raw.xz", From: FromDisk, RunsOn: &drivers.KVM, Tools: []Tool{xz},
	Doc:   "The disk, compressed with xz: the smallest, and by far the slowest.",
	Write: func(ctx context.Context, j *Job, out string) error { return j.xzRaw(ctx, out) },
}

var gce = Format{
	Name: "gce", Ext: "-gce.tar.gz", From: FromDisk, RunsOn: &drivers.KVM,
	Doc: "The disk for Google Compute Engine: disk.raw, of whole GiB, in a tar.gz.",
	Write: func(ctx context.Context, j *Job, out string) error {
		const gib = 1 << 30
		size := (j.diskSize + gib - 1) / gib * gib
		return j.newFile(out, func(f *os.File) error {
			return codecGzip.compress(ctx, f, func(w io.Writer) error {
				header, err := ovf.TarHeader("disk.raw", size)
				if err != nil {
					return err
				}
				if _, err := w.Write(header); err != nil {
					return err
				}
				if err := j.copyRaw(ctx, w, "gce"); err != nil {
					return err
				}
				// What is missing to whole GiB, and the end of an archive.
				return writeZeros(w, size-j.diskSize+1024)
			})
		})
	},
}

// packRaw writes the disk compressed.
func (j *Job) packRaw(ctx context.Context, out string, c codec) error {
	return j.newFile(out, func(f *os.File) error {
		return c.compress(ctx, f, func(w io.Writer) error { return j.copyRaw(ctx, w, "raw") })
	})
}

// copyRaw writes all bytes of the disk.
func (j *Job) copyRaw(ctx context.Context, w io.Writer, what string) (err error) {
	f, err := os.Open(j.disk)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return sparse.CopyAll(ctx, w, f)
}

func writeZeros(w io.Writer, n int64) error {
	zeros := make([]byte, 1<<20)
	for n > 0 {
		k, err := w.Write(zeros[:min(n, int64(len(zeros)))])
		if err != nil {
			return err
		}
		n -= int64(k)
	}
	return nil
}

// xzRaw has xz compress the disk. Blocks of one size and more than one thread give the
// same bytes, whatever the number of CPUs.
func (j *Job) xzRaw(ctx context.Context, out string) error {
	return j.newFile(out, func(f *os.File) (err error) {
		in, err := os.Open(j.disk)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, in.Close()) }()
		threads := max(2, runtime.GOMAXPROCS(0))
		cmd := exec.CommandContext(ctx, "xz", "--compress", "--stdout", "--threads="+strconv.Itoa(threads), "--block-size=16MiB", "-6")
		var stderr bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = in, f, &stderr
		if err := tool.Run(cmd); err != nil {
			return fmt.Errorf("xz: %w: %s", errors.Join(err, ctx.Err()), bytes.TrimSpace(stderr.Bytes()))
		}
		return nil
	})
}
