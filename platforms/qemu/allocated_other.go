//go:build !unix

package qemu

import "os"

// allocated returns how much of the disk a file takes, in bytes.
func allocated(path string) (int64, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}
