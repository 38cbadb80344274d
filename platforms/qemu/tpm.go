package qemu

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"bake.build/bake/internal/tool"
)

// A tpm is an emulated TPM of one machine: a process of swtpm, which QEMU talks
// to by a socket that both inherit.
type tpm struct {
	cmd   *exec.Cmd
	ended <-chan error
}

// startTPM starts swtpm with its state in dir, and gives QEMU its socket as the
// character device tpm.
func startTPM(dir string, a *arguments) (_ *tpm, err error) {
	state := filepath.Join(dir, "tpm")
	if err := os.Mkdir(state, 0o700); err != nil {
		return nil, err
	}
	l, err := newLink("tpm")
	if err != nil {
		return nil, err
	}
	ours, err := l.ours.File()
	if err = errors.Join(err, l.ours.Close()); err != nil {
		return nil, errors.Join(err, l.theirs.Close())
	}
	a.add("-chardev", fmt.Sprintf("socket,id=tpm,fd=%d", a.inherit(l.theirs)))
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+state, "--ctrl", "type=unixio,clientfd=3", "--terminate")
	cmd.ExtraFiles = []*os.File{ours}
	ended, err := tool.Start(cmd)
	if err = errors.Join(err, ours.Close()); err != nil {
		return nil, fmt.Errorf("start swtpm, the TPM emulator: %w", err)
	}
	return &tpm{cmd: cmd, ended: ended}, nil
}

// close ends swtpm. It ends by itself when QEMU has closed the socket.
func (t *tpm) close() error {
	select {
	case <-t.ended:
	case <-time.After(2 * time.Second):
		if err := kill(t.cmd); err != nil {
			return err
		}
		<-t.ended
	}
	return nil
}
