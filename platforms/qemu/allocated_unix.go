//go:build unix

package qemu

import "golang.org/x/sys/unix"

// allocated returns how much of the disk a file takes, in bytes.
func allocated(path string) (int64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, err
	}
	return st.Blocks * 512, nil
}
