package op

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
)

// A Copy writes files of the project to the machine.
type Copy struct {
	Dst   string     `key:"dst"` // absolute directory; made when missing
	From  []CopyFrom `key:"from"`
	Owner string     `key:"owner"` // "user", "user:group" or numbers; "" means root
	Mode  uint32     `key:"mode"`  // of files, and with x for each r of directories; 0 keeps that of the project
}

// A CopyFrom is one file or directory that is copied.
type CopyFrom struct {
	// Name is where a file lands, relative to the destination. It is "" for a
	// directory, whose content lands there.
	Name  string      `key:"name"`
	Input *plan.Input `key:"input"`
}

// Kind implements plan.Op.
func (*Copy) Kind() string { return "copy" }

// Inputs implements plan.Reader.
func (c *Copy) Inputs() []*plan.Input { return inputsOf(c.From) }

func inputsOf(from []CopyFrom) []*plan.Input {
	inputs := make([]*plan.Input, len(from))
	for i, f := range from {
		inputs[i] = f.Input
	}
	return inputs
}

// Apply implements plan.Step. It fails when a file is no longer what the key
// says.
func (c *Copy) Apply(ctx context.Context, m platforms.Machine, _ plan.Env) error {
	own, err := resolveOwner(ctx, m, c.Owner)
	if err != nil {
		return err
	}
	return writeTar(ctx, m, c.Dst, func(tw *tar.Writer) error {
		for _, f := range c.From {
			err := f.Input.Stream(ctx, func(e plan.Entry, content io.Reader) error {
				return c.entry(tw, own, f.Name, e, content)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *Copy) entry(tw *tar.Writer, own owner, name string, e plan.Entry, content io.Reader) error {
	if name = path.Join(name, e.Rel); name == "." {
		return nil // Dst itself keeps what it has
	}
	mode := int64(e.Mode())
	var h *tar.Header
	switch e.Info.Mode().Type() {
	case fs.ModeDir:
		if c.Mode != 0 {
			mode = int64(c.Mode | c.Mode>>2&0o111)
		}
		h = own.header(name+"/", tar.TypeDir, mode)
	case fs.ModeSymlink:
		h = own.header(name, tar.TypeSymlink, 0o777)
		h.Linkname = e.Link
	default:
		if c.Mode != 0 {
			mode = int64(c.Mode)
		}
		h = own.header(name, tar.TypeReg, mode)
		h.Size = e.Info.Size()
	}
	if h.Typeflag == tar.TypeReg && mode&0o111 != 0 {
		buffered := bufio.NewReader(content)
		content = buffered
		// An error of reading comes again below.
		if begin, _ := buffered.Peek(256); bytes.HasPrefix(begin, []byte("#!")) {
			if err := CheckProgram(path.Join(c.Dst, name), uint32(mode), begin); err != nil {
				return fmt.Errorf("copy %s: %w", e.Path, err)
			}
		}
	}
	if err := tw.WriteHeader(h); err != nil {
		return fmt.Errorf("copy %s: %w", e.Path, err)
	}
	if content == nil {
		return nil
	}
	_, err := io.Copy(tw, content)
	return err
}
