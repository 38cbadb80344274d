package module

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"bake.build/bake/platforms/image/fetch"
	"bake.build/bake/starlark/module"
)

// maxArchive is how many bytes a download has at most.
const maxArchive = 256 << 20

// An archive is a module in a file on a server.
type archive struct {
	src    module.Source
	client *fetch.Client
}

func (a *archive) versions(context.Context) ([]string, error) {
	return nil, errors.New("an archive is one version, and its server lists no others")
}

func (a *archive) resolve(context.Context, string) (found, error) {
	if a.src.SHA256 == "" {
		return found{}, nil // whatever the server has now
	}
	return found{id: "archive sha256:" + a.src.SHA256}, nil
}

func (a *archive) write(ctx context.Context, _ found, w *writer, temp string) (err error) {
	f, err := os.Create(filepath.Join(temp, "archive"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := &fetch.HashingFile{File: f, Hash: sha256.New()}
	// A try after the disk was full would fail as well.
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	out := &capped{w: h, left: maxArchive, stop: stop}
	restart := func() error {
		out.left = maxArchive
		return h.Restart()
	}
	if err := a.client.Download(ctx, a.src.URL, out, restart, nil); err != nil {
		return out.cause(err)
	}
	if got := hex.EncodeToString(h.Hash.Sum(nil)); a.src.SHA256 != "" && got != a.src.SHA256 {
		return fmt.Errorf("it is not the archive that was asked for: its SHA-256 is %s", got)
	}
	return unpack(ctx, w, f)
}

// A capped writer fails after so many bytes, and calls stop when it fails.
type capped struct {
	w    io.Writer
	left int64
	stop func()
	err  error
}

// Write implements io.Writer.
func (c *capped) Write(p []byte) (int, error) {
	if int64(len(p)) > c.left {
		c.err = fmt.Errorf("it has more than %d bytes, which no module has", maxArchive)
		c.stop()
		return 0, c.err
	}
	n, err := c.w.Write(p)
	c.left -= int64(n)
	if err != nil {
		c.err = err
		c.stop()
	}
	return n, err
}

// cause returns what the writing failed with, which no second try helps, or err.
func (c *capped) cause(err error) error {
	if c.err != nil {
		return c.err
	}
	return err
}
