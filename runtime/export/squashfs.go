package export

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"bake.build/bake/internal/paxattr"
	"bake.build/bake/internal/tool"
	"bake.build/bake/runtime/disk/tree"
)

var squashfs = Format{
	Name: "squashfs", Ext: ".squashfs", From: FromTree, Tools: []Tool{mksquashfs},
	Doc: "The file tree as a compressed read-only file system, for live and network-booted systems. It has no ACLs, and times from 1970 to 2106 in whole seconds.",
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
			if err := errors.Join(checkSquashTimes(t), checkHoles(t, squashHoles, "squashfs has an entry for each 128 KiB of them")); err != nil {
				return err
			}
			return j.squash(ctx, t, out, options)
		})
	},
}

// squash gives mksquashfs the tree as a tar archive, which has attributes and
// names in one order, whatever the order in which they were made.
func (j *Job) squash(ctx context.Context, t *tree.Tree, out string, options []string) error {
	use, lost := t.Usage(), &lostACLs{}
	args := append([]string{"-", out, "-tar", "-noappend", "-no-progress", "-quiet", "-exit-on-error", "-mem", "512M", "-noI",
		"-mkfs-time", strconv.FormatInt(max(use.Newest, 0), 10)}, options...)
	cmd := exec.CommandContext(ctx, "mksquashfs", args...)
	// mksquashfs refuses -mkfs-time beside SOURCE_DATE_EPOCH.
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "SOURCE_DATE_EPOCH=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	r, w := io.Pipe()
	var output bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = r, &output, &output
	ended := make(chan error, 1)
	go func() {
		err := tool.Run(cmd)
		r.CloseWithError(errEnded)
		ended <- err
	}()
	// On this goroutine, where the tree can be seen.
	err := writeTar(ctx, w, t, tarOptions{translate: lost.translate, holes: true}, func(done int64) { j.Progress("squashfs", done, use.Bytes) })
	w.CloseWithError(err)
	if toolErr := <-ended; toolErr != nil {
		return fmt.Errorf("mksquashfs: %w: %s", errors.Join(toolErr, ctx.Err()), strings.TrimSpace(output.String()))
	}
	if err != nil && !errors.Is(err, errEnded) {
		return err
	}
	mode, err := lost.root(t.Root)
	if err == nil {
		err = setSquashRoot(out, t.Root, mode)
	}
	if err != nil || j.req.Warn == nil {
		return err
	}
	if slices.ContainsFunc(t.Root.Xattrs, func(x tree.Xattr) bool { return x.Name != paxattr.AccessACL && x.Name != paxattr.DefaultACL }) {
		j.req.Warn("squashfs is written without the extended attributes of the root directory")
	}
	if lost.files > 0 {
		j.req.Warn(fmt.Sprintf("squashfs has no access control lists: %d files, /%s first, have permission bits alone", lost.files, lost.first))
	}
	return nil
}

var errEnded = errors.New("the program has ended")

// checkSquashTimes fails where a time is not one of 32 bits without a sign.
func checkSquashTimes(t *tree.Tree) error {
	return t.Walk(func(p string, e *tree.Entry) error {
		if e.Sec < 0 || e.Sec > math.MaxUint32 {
			return fmt.Errorf("/%s: its modification time is %d seconds from 1970: squashfs keeps those from 1970 to 2106 only; set another with touch", p, e.Sec)
		}
		return nil
	})
}

// lostACLs takes ACLs away, which squashfs cannot have.
type lostACLs struct {
	files int
	first string
}

// root returns the mode of the root directory.
func (l *lostACLs) root(e *tree.Entry) (uint32, error) {
	mode := e.Mode & 0o7777
	if acl, ok := e.Xattr(paxattr.AccessACL); ok {
		return paxattr.ModeWithout(mode, acl)
	}
	return mode, nil
}

// translate leaves nobody more rights than the ACL gave.
func (l *lostACLs) translate(hdr *tar.Header, e *tree.Entry) ([]*tar.Header, error) {
	acl, hasAccess := e.Xattr(paxattr.AccessACL)
	_, hasDefault := e.Xattr(paxattr.DefaultACL)
	if !hasAccess && !hasDefault {
		return []*tar.Header{hdr}, nil
	}
	if l.files++; l.files == 1 {
		l.first = strings.TrimSuffix(hdr.Name, "/")
	}
	paxattr.Remove(hdr.PAXRecords, paxattr.AccessACL)
	paxattr.Remove(hdr.PAXRecords, paxattr.DefaultACL)
	if hasAccess {
		mode, err := paxattr.ModeWithout(uint32(hdr.Mode), acl)
		if err != nil {
			return nil, err
		}
		hdr.Mode = int64(mode)
	}
	return []*tar.Header{hdr}, nil
}

func squashOptions(compression string) ([]string, error) {
	switch compression {
	case "", "zstd":
		return []string{"-comp", "zstd", "-Xcompression-level", "6"}, nil
	case "zlib":
		return []string{"-comp", "gzip", "-Xcompression-level", "6"}, nil
	case "none":
		return []string{"-noD", "-noF", "-noX"}, nil
	}
	return nil, fmt.Errorf("compression %q: squashfs knows zstd, zlib and none", compression)
}
