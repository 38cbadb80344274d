package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"bake.build/bake/internal/tool"
	"bake.build/bake/runtime/disk/tree"
)

var squashfs = Format{
	Name: "squashfs", Ext: ".squashfs", From: FromTree, Tools: []Tool{mksquashfs},
	Doc: "The file tree as a compressed read-only file system, for live and network-booted systems.",
	Write: func(ctx context.Context, j *Job, out string) error {
		options, err := squashOptions(j.op.Compression)
		if err != nil {
			return err
		}
		return j.Tree(ctx, func(dir string) error {
			t, err := tree.Scan(dir)
			if err != nil {
				return err
			}
			args := append([]string{dir, out, "-noappend", "-no-progress", "-quiet", "-exit-on-error", "-mem", "512M",
				"-mkfs-time", strconv.FormatInt(max(t.Usage().Newest, 0), 10)}, options...)
			cmd := exec.CommandContext(ctx, "mksquashfs", args...)
			// mksquashfs refuses -mkfs-time beside SOURCE_DATE_EPOCH.
			for _, v := range os.Environ() {
				if !strings.HasPrefix(v, "SOURCE_DATE_EPOCH=") {
					cmd.Env = append(cmd.Env, v)
				}
			}
			var output bytes.Buffer
			cmd.Stdout, cmd.Stderr = &output, &output
			if err := tool.Run(cmd); err != nil {
				return fmt.Errorf("mksquashfs: %w: %s", errors.Join(err, ctx.Err()), strings.TrimSpace(output.String()))
			}
			return nil
		})
	},
}

func squashOptions(compression string) ([]string, error) {
	switch compression {
	case "", "zstd":
		return []string{"-comp", "zstd", "-Xcompression-level", "6"}, nil
	case "zlib":
		return []string{"-comp", "gzip", "-Xcompression-level", "6"}, nil
	case "none":
		return []string{"-noI", "-noId", "-noD", "-noF", "-noX"}, nil
	}
	return nil, fmt.Errorf("compression %q: squashfs knows zstd, zlib and none", compression)
}
