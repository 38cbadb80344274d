package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// Info is what an image of a disk is.
type Info struct {
	Format      string // as qemu-img names it: "qcow2", "raw", "vmdk", "vdi", "vpc", …
	VirtualSize int64  // of the disk, in bytes
}

// imageInfo is what qemu-img info says of an image.
type imageInfo struct {
	Format         string `json:"format"`
	VirtualSize    int64  `json:"virtual-size"`
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

// Probe says what the image at path is. One that is not whole without another
// file is an error.
func Probe(ctx context.Context, path string) (Info, error) {
	data, err := exec.CommandContext(ctx, "qemu-img", "info", "--output=json", "--", path).Output()
	if err != nil {
		if ctx.Err() != nil {
			return Info{}, context.Cause(ctx)
		}
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			return Info{}, errors.New(lastLine(string(exit.Stderr)))
		}
		return Info{}, err
	}
	var info imageInfo
	if err := json.Unmarshal(data, &info); err != nil {
		return Info{}, fmt.Errorf("read what qemu-img says: %w", err)
	}
	if file := info.outside(path); file != "" {
		return Info{}, fmt.Errorf("is not whole without the file %s: flatten it with qemu-img convert", file)
	}
	return Info{Format: info.Format, VirtualSize: info.VirtualSize}, nil
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}
