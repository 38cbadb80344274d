//go:build unix

package qemu

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// A link is a connected pair of sockets, one of which QEMU inherits.
type link struct {
	ours   *net.UnixConn
	theirs *os.File
}

func newLink(name string) (link, error) {
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return link{}, fmt.Errorf("make a socket: %w", err)
	}
	f := os.NewFile(uintptr(fds[0]), name)
	conn, err := net.FileConn(f) // of a copy
	err = errors.Join(err, f.Close())
	theirs := os.NewFile(uintptr(fds[1]), name)
	if err != nil {
		return link{}, errors.Join(err, theirs.Close())
	}
	return link{ours: conn.(*net.UnixConn), theirs: theirs}, nil
}
