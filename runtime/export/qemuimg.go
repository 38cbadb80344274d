package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"bake.build/bake/internal/tool"
	"bake.build/bake/platforms"
)

// convert lets qemu-img make out from the raw disk. It writes in order, not
// with -W: where blocks lie in the file would else change from run to run.
func convert(ctx context.Context, j *Job, out, format string, args ...string) error {
	kind, ok := platforms.DiskFormatNamed(format)
	if !ok {
		panic(fmt.Sprintf("export: %q is not in the table of disk formats", format))
	}
	args = append([]string{"-f", "raw", "-O", kind.QEMU}, args...)
	return qemuConvert(ctx, out, func(done float64) {
		j.Progress(format, int64(done/100*float64(j.diskSize)), j.diskSize)
	}, append(args, j.disk)...)
}

// qemuConvert lets qemu-img make out from the image that args name, and tells how much
// is done, in hundredths.
func qemuConvert(ctx context.Context, out string, tell func(done float64), args ...string) error {
	cmd := exec.CommandContext(ctx, "qemu-img", slices.Concat([]string{"convert", "-p", "-m", "16"}, args, []string{out})...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Stdout = &percent{tell: tell}
	if err := tool.Run(cmd); err != nil {
		said := strings.TrimSpace(stderr.String())
		if strings.Contains(said, "No space left on device") {
			return fmt.Errorf("write %s: %w", filepath.Base(out), syscall.ENOSPC)
		}
		return fmt.Errorf("qemu-img: %w: %s", errors.Join(err, ctx.Err()), said)
	}
	return nil
}

// percent reads qemu-img's "(12.34/100%)".
type percent struct {
	tell func(float64)
	rest []byte
}

var _ io.Writer = (*percent)(nil)

func (p *percent) Write(b []byte) (int, error) {
	p.rest = append(p.rest, b...)
	for {
		head, tail, ok := bytes.Cut(p.rest, []byte("/100%)"))
		if !ok {
			break
		}
		if i := bytes.LastIndexByte(head, '('); i >= 0 {
			if f, err := strconv.ParseFloat(strings.TrimSpace(string(head[i+1:])), 64); err == nil {
				p.tell(f)
			}
		}
		p.rest = bytes.Clone(tail)
	}
	if n := len(p.rest); n > 64 {
		p.rest = bytes.Clone(p.rest[n-64:])
	}
	return len(b), nil
}

// patch changes bytes of the file at path: change gets size bytes from off on,
// counted from the end of the file when off is negative.
func patch(path string, off int64, size int, change func(b []byte) error) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if off < 0 {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		off += info.Size()
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, off); err != nil {
		return err
	}
	if err := change(b); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	_, err = f.WriteAt(b, off)
	return err
}
