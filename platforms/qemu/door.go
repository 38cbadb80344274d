package qemu

import (
	"context"
	"errors"
	"fmt"
	"net"

	"bake.build/bake/platforms/seed"
)

// doorLink is QEMU's character device of the door; see the package seed.
const doorLink = "login"

// listen makes a TCP port of this host's loopback that QEMU accepts connections at,
// one at a time, for the character device id. It ends with QEMU.
func (a *arguments) listen(id string) (address string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	f, err := l.(*net.TCPListener).File()
	if err = errors.Join(err, l.Close()); err != nil {
		return "", err
	}
	a.add("-chardev", fmt.Sprintf("socket,id=%s,fd=%d,server=on,wait=off", id, a.inherit(f)))
	return l.Addr().String(), nil
}

// errNoDoor says that nothing in the machine serves the door.
var errNoDoor = errors.New("nothing in the machine serves the virtio port " + seed.DoorPort +
	", which takes an sshd, and systemd 252 or cloud-init to start it")

// door connects to the sshd behind the virtio port.
func (v *vm) dialDoor(ctx context.Context) (net.Conn, error) {
	if err := v.Alive(); err != nil {
		return nil, err
	}
	open, err := v.portOpen(ctx, doorLink)
	if err != nil {
		return nil, err
	}
	if !open {
		return nil, errNoDoor
	}
	return v.Dial(ctx, v.door)
}
