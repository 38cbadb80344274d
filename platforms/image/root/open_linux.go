package root

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"bake.build/bake/internal/mountns"
	"bake.build/bake/internal/tool"
)

// errNoRoot says who may open a disk.
var errNoRoot = errors.New("reading the files of a disk means mounting it, which only root can")

// Check says why this process cannot open a disk, if so.
func Check() error {
	if os.Geteuid() != 0 {
		return errNoRoot
	}
	uids, err := os.ReadFile("/proc/self/uid_map")
	if f := strings.Fields(string(uids)); err == nil && (len(f) != 3 || f[2] != "4294967295") {
		return errNoRoot // of a user namespace only
	}
	if _, err := exec.LookPath("mount"); err != nil {
		return errors.New("mount is not installed: apt-get install mount")
	}
	return nil
}

// Open calls use with a directory that shows the largest file system of a raw
// disk that has /etc and /usr, and neither changes the disk nor plays back its
// journal. The directory is read-only, and there only until use returns, only on
// the goroutine that runs use and for processes that this goroutine starts.
// scratch is an empty directory.
func Open(ctx context.Context, raw, scratch string, use func(dir string) error) error {
	if err := Check(); err != nil {
		return err
	}
	list, err := candidates(raw)
	if err != nil {
		return err
	}
	dir := filepath.Join(scratch, "mnt")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return mountns.Run(func() error {
		var tried []string
		for _, c := range list {
			why, err := c.mount(ctx, raw, dir)
			if err != nil {
				return err
			}
			if why == "" && isDir(dir+"/etc") && isDir(dir+"/usr") {
				return use(dir)
			}
			if why == "" {
				why = "has no /etc and /usr"
				if err := unix.Unmount(dir, 0); err != nil {
					return fmt.Errorf("unmount: %w", err)
				}
			}
			tried = append(tried, fmt.Sprintf("%s at %d: %s", c.kind, c.start, why))
		}
		return fmt.Errorf("no root file system: %s", strings.Join(tried, "; "))
	})
}

func isDir(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

// mount mounts the file system at dir, or says why that cannot be done.
func (c candidate) mount(ctx context.Context, raw, dir string) (why string, err error) {
	options := fmt.Sprintf("ro,nodev,nosuid,noexec,loop,offset=%d,sizelimit=%d", c.start, c.size)
	switch c.kind {
	case "ext4":
		options += ",noload" // a journal left by a crash is not played back
	case "xfs":
		options += ",norecovery,nouuid"
	}
	cmd := exec.CommandContext(ctx, "mount", "-n", "-t", c.kind, "-o", options, "--", raw, dir)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := tool.Run(cmd); err == nil {
		return "", nil
	} else if ctx.Err() != nil {
		return "", context.Cause(ctx)
	} else if line, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n"); line != "" {
		return line, nil
	} else {
		return err.Error(), nil
	}
}
