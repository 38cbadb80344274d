//go:build !unix

package qemu

import (
	"errors"
	"net"
	"os"
)

// A link is a connected pair of sockets, one of which QEMU inherits.
type link struct {
	ours   *net.UnixConn
	theirs *os.File
}

func newLink(string) (link, error) {
	return link{}, errors.New("the platform qemu needs Linux or macOS: on Windows, run bake in WSL")
}
