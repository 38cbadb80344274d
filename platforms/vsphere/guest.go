package vsphere

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"sync"
	"time"

	"github.com/vmware/govmomi/guest/toolbox"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/platforms/seed"
	"bake.build/bake/platforms/wait"
)

// A guest is a machine that VMware Tools lead into: they write and read files, and run
// programs. No network has a part in it.
type guest struct {
	tools *toolbox.Client
	dir   string // of the connection, in the guest
	pause time.Duration
}

// guestLimit bounds one request to VMware Tools.
const guestLimit = time.Minute

// guestReady reports whether VMware Tools take requests, and that the user has asked for
// it where the machine has no network.
func (m *machine) guestReady(g *types.GuestInfo) bool {
	return m.d.options.GuestUser != "" && g != nil && g.GuestOperationsReady != nil && *g.GuestOperationsReady
}

// guestMemory is where every user has files that are on no disk, and so in no layer.
const guestMemory = "/dev/shm"

// openGuest makes a directory in the guest, as the user.
func (m *machine) openGuest(ctx context.Context) (*guest, error) {
	c, err := m.d.vim(ctx)
	if err != nil {
		return nil, err
	}
	password, err := m.d.host.Secret(m.d.options.GuestPassword)
	if err != nil {
		return nil, err
	}
	auth := &types.NamePasswordAuthentication{Username: m.d.options.GuestUser, Password: string(password)}
	g := &guest{pause: min(m.d.pause, 200*time.Millisecond)}
	if g.tools, err = toolbox.NewClient(ctx, c, m.ref, auth); err != nil {
		return nil, explain(err)
	}
	if g.dir, err = g.tools.FileManager.CreateTemporaryDirectory(ctx, auth, "bake-", "", guestMemory); is[*types.FileNotFound](err) {
		g.dir, err = g.tools.FileManager.CreateTemporaryDirectory(ctx, auth, "bake-", "", "")
	}
	if is[*types.InvalidGuestLogin](err) {
		return nil, fmt.Errorf("%s: VMware Tools refuse guest_user %q or its password", m.name, m.d.options.GuestUser)
	}
	return g, explain(err)
}

// remove removes the directory.
func (g *guest) remove(ctx context.Context) error {
	return g.tools.FileManager.DeleteDirectory(ctx, g.tools.Authentication, g.dir, true)
}

// dialGuest connects to an SSH server that is started by VMware Tools, and that talks by
// files.
func (m *machine) dialGuest(ctx context.Context) (net.Conn, error) {
	g, err := m.openGuest(ctx)
	if err != nil {
		return nil, err
	}
	key, err := m.d.key()
	if err != nil {
		return nil, err
	}
	if err := g.begin(ctx, seed.Login{Key: key.Authorized()}.Relay()); err != nil {
		return nil, fmt.Errorf("log in by VMware Tools: %w", explain(err))
	}
	inner, outer := net.Pipe()
	go g.serve(inner)
	return outer, nil
}

// begin starts the relay in the guest.
func (g *guest) begin(ctx context.Context, script string) error {
	start := path.Join(g.dir, "relay")
	if err := g.put(ctx, start, []byte(script)); err != nil {
		return err
	}
	_, err := g.tools.ProcessManager.StartProgram(ctx, g.tools.Authentication, &types.GuestProgramSpec{
		ProgramPath: "/bin/sh", Arguments: start + " " + g.dir,
	})
	return err
}

// put writes a file of the guest.
func (g *guest) put(ctx context.Context, name string, data []byte) error {
	p := soap.DefaultUpload
	p.ContentLength = int64(len(data))
	return g.tools.Upload(ctx, bytes.NewReader(data), name, p, &types.GuestPosixFileAttributes{Permissions: 0o600}, true)
}

// serve passes on what comes by the connection and by files, until either ends.
func (g *guest) serve(conn net.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	var both sync.WaitGroup
	both.Go(func() {
		defer cancel()
		_ = g.send(ctx, conn) // the connection ends, which its user finds out
		_ = conn.Close()
	})
	both.Go(func() {
		defer cancel()
		_ = g.receive(ctx, conn)
		_ = conn.Close()
	})
	both.Wait()
	cancel()
	// The relay ends with this file. Its directory goes a moment later, or with the
	// files in /tmp of the machine.
	last, stop := context.WithTimeout(context.Background(), guestLimit)
	defer stop()
	if g.put(last, path.Join(g.dir, seed.RelayEnd), nil) == nil && wait.Pause(last, 2*g.pause) == nil {
		_ = g.remove(last)
	}
}

// send puts what comes from conn into files, as much into each as has come meanwhile.
func (g *guest) send(ctx context.Context, conn net.Conn) error {
	chunks := make(chan []byte)
	ended := make(chan error, 1)
	go func() {
		defer close(chunks)
		for {
			b := make([]byte, 64<<10)
			n, err := conn.Read(b)
			if n > 0 {
				select {
				case chunks <- b[:n]:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				ended <- err
				return
			}
		}
	}()
	for n := 1; ; n++ {
		data, ok := <-chunks
		if !ok {
			return io.EOF
		}
		for more := true; more && len(data) < seed.RelayChunk; {
			select {
			case b, ok := <-chunks:
				data, more = append(data, b...), ok
			default:
				more = false
			}
		}
		name := path.Join(g.dir, fmt.Sprintf("%s%d", seed.RelayIn, n))
		if err := g.put(ctx, name+".part", data); err != nil {
			return err
		}
		if err := g.tools.FileManager.MoveFile(ctx, g.tools.Authentication, name+".part", name, true); err != nil {
			return err
		}
	}
}

// receive reads the files that come from the guest.
func (g *guest) receive(ctx context.Context, conn net.Conn) error {
	for n := 1; ; n++ {
		name := path.Join(g.dir, fmt.Sprintf("%s%d", seed.RelayOut, n))
		data, err := g.await(ctx, name)
		if err != nil {
			return err
		}
		if _, err := conn.Write(data); err != nil {
			return err
		}
		if err := g.tools.FileManager.DeleteFile(ctx, g.tools.Authentication, name); err != nil {
			return err
		}
	}
}

// await reads a file as soon as it is there. The error is io.EOF once there will be none.
func (g *guest) await(ctx context.Context, name string) ([]byte, error) {
	pause := wait.Backoff{Next: g.pause, Most: 5 * g.pause}
	for {
		data, err := g.get(ctx, name)
		if err == nil || !is[*types.FileNotFound](err) {
			return data, err
		}
		if _, end := g.get(ctx, path.Join(g.dir, seed.RelayEnd)); end == nil {
			// The last file may have come between the two looks.
			if data, err = g.get(ctx, name); is[*types.FileNotFound](err) {
				err = io.EOF
			}
			return data, err
		}
		if err := pause.Wait(ctx); err != nil {
			return nil, err
		}
	}
}

// get reads a file of the guest.
func (g *guest) get(ctx context.Context, name string) (_ []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, guestLimit)
	defer cancel()
	r, _, err := g.tools.Download(ctx, name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	data, err := io.ReadAll(io.LimitReader(r, seed.RelayChunk+1))
	if err == nil && len(data) > seed.RelayChunk {
		err = errors.New("the guest sends more than was asked for")
	}
	return data, err
}

// guestGrace is how long, in pauses, a machine whose VMware Tools run may be without an
// address before they are the way in.
const guestGrace = 15

// waitGuest is waitAddress for a machine that may have no network: it returns "" for one
// that VMware Tools lead into.
func (m *machine) waitGuest(ctx context.Context, timeout time.Duration) (address string, err error) {
	if m.d.options.GuestUser == "" {
		return m.waitAddress(ctx, timeout)
	}
	c, err := m.d.vim(ctx)
	if err != nil {
		return "", err
	}
	begun := time.Now()
	var ready time.Time
	for {
		address, err = m.waitAddress(ctx, guestGrace*m.d.pause)
		if !errors.Is(err, wait.ErrTimeout) {
			return address, err
		}
		var seen mo.VirtualMachine
		if err := property.DefaultCollector(c).RetrieveOne(ctx, m.ref, []string{"guest.guestOperationsReady"}, &seen); err != nil {
			return "", explain(err)
		}
		switch now := m.guestReady(seen.Guest); {
		case now && !ready.IsZero():
			g, err := m.openGuest(ctx)
			if err != nil {
				return "", err
			}
			m.say("%s has no address: VMware Tools are the way in", m.name)
			return "", explain(g.remove(ctx))
		case now:
			ready = time.Now()
		case time.Since(begun) > timeout:
			return "", err
		}
	}
}
