package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"bake.build/bake/internal/tool"
	"bake.build/bake/platforms/image/fetch"
)

// ConvertRaw writes the disk of an image that came from elsewhere to the file dst, as a raw
// image with holes. It needs qemu-img for all formats but raw.
func ConvertRaw(ctx context.Context, path, dst string) error {
	n, err := Open(path, "")
	if err != nil {
		return err
	}
	if n.Driver == "raw" {
		return CopySparse(ctx, dst, path)
	}
	if err := CheckWhole(ctx, n); err != nil {
		return err
	}
	return n.ConvertRaw(ctx, dst)
}

// ConvertRaw writes the disk of a node to the file dst, as a raw image with holes.
func (n *Node) ConvertRaw(ctx context.Context, dst string) error {
	source, err := n.Locator()
	if err != nil {
		return err
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, "qemu-img", "convert", "-O", "raw", "--", source, dst)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := tool.Run(cmd); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("qemu-img convert: %w: %s", err, bytes.TrimSpace(said.Bytes()))
	}
	return nil
}

// CopySparse writes what the file src holds, but for zeros, to the new file dst.
func CopySparse(ctx context.Context, dst, src string) (err error) {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	f, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return WriteSparse(f, &fetch.Reader{Ctx: ctx, R: in})
}
