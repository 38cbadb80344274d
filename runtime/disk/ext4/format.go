package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"bake.build/bake/internal/tool"
)

const (
	blockSize = 4096
	inodeSize = 256
)

// noConfig makes mke2fs take what it was built with in place of the host's
// mke2fs.conf, which could change more than features, such as what is done on
// errors.
const noConfig = "MKE2FS_CONFIG=/nonexistent/mke2fs.conf"

// features are spelled out since what mke2fs was built with is not the same
// everywhere either. All of them are known to GRUB 2.06 and to kernels since
// 4.9.
const features = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit," +
	"flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum"

// BytesPerInode is the size of a file system for each inode that it has at least.
const BytesPerInode = 16 << 10

// Options of a new file system.
type Options struct {
	UUID     string    // in the usual notation
	HashSeed string    // of directory hashes, written as a UUID
	Label    string    // at most 16 bytes; may be ""
	Epoch    time.Time // when it was made; seconds count
	Inodes   int       // at least so many; 0 means one for each 16 KiB
}

// Format makes an empty file system in the size bytes at offset of the file
// image, which must be zeros. It runs mke2fs, which leaves the tables of inodes, a
// sixty-fourth of the file system, as they are; Populate says that they are zeros.
func Format(ctx context.Context, image string, offset, size int64, o Options) error {
	mke2fs, err := Tool("mke2fs")
	if err != nil {
		return err
	}
	blocks := size / blockSize
	journal := int64(8)
	switch {
	case size < 64<<20:
		journal = 4 // the least there is; mke2fs refuses one of half the size
	case size >= 8<<30:
		journal = 64
	case size >= 1<<30:
		journal = 32
	case size >= 256<<20:
		journal = 16
	}
	inodes := max(int64(o.Inodes), size/BytesPerInode)
	args := []string{
		"-q", "-F", "-O", features,
		"-b", strconv.Itoa(blockSize), "-I", strconv.Itoa(inodeSize), "-N", strconv.FormatInt(inodes, 10),
		"-m", "1", "-J", "size=" + strconv.FormatInt(journal, 10), "-U", o.UUID, "-L", o.Label,
		"-E", fmt.Sprintf("offset=%d,hash_seed=%s,root_owner=0:0,nodiscard,lazy_itable_init=1,lazy_journal_init=1", offset, o.HashSeed),
		image, strconv.FormatInt(blocks, 10),
	}
	cmd := exec.CommandContext(ctx, mke2fs, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(os.Environ(), "LC_ALL=C", noConfig, "E2FSPROGS_FAKE_TIME="+strconv.FormatInt(max(o.Epoch.Unix(), 1), 10))
	if err := tool.Run(cmd); err != nil {
		return fmt.Errorf("mke2fs: %w: %s", errors.Join(err, ctx.Err()), strings.TrimSpace(out.String()))
	}
	return nil
}

// Tool finds a program in PATH or where the system keeps its own, which is not
// in every user's PATH.
func Tool(name string) (string, error) {
	p, err := exec.LookPath(name)
	if err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
		if p, err := exec.LookPath(dir + name); err == nil {
			return p, nil
		}
	}
	return "", err
}
