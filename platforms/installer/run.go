package installer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bake.build/bake/platforms"
)

// A Keyboard is that of a machine.
type Keyboard interface {
	// Send has the guest see a stroke that has keys.
	Send(ctx context.Context, s Stroke) error

	// Rest waits while the machine goes on. It returns early, with the reason,
	// when the machine is of no more use.
	Rest(ctx context.Context, d time.Duration) error
}

// A Machine has an empty disk and starts from the CD of an installer.
type Machine interface {
	Keyboard

	// Start starts the machine.
	Start(ctx context.Context) error

	// AwaitEnd waits until the guest has shut the machine down, or restarts it.
	AwaitEnd(ctx context.Context) error
}

// Times of typing: how long a key is down, and how long until the next, so that
// a guest that is slow neither misses nor repeats one.
const (
	KeyDown = 60 * time.Millisecond
	keyGap  = 60 * time.Millisecond
)

// Type types, one stroke after the other.
func Type(ctx context.Context, k Keyboard, strokes []Stroke) error {
	for _, s := range strokes {
		pause := s.Pause
		if pause == 0 {
			if err := k.Send(ctx, s); err != nil {
				return fmt.Errorf("type: %w", err)
			}
			pause = KeyDown + keyGap
		}
		if err := k.Rest(ctx, pause); err != nil {
			return err
		}
	}
	return nil
}

// A Host is how a guest reaches the files that this host serves.
type Host struct {
	Listen string // the address of this host, with a port, which may be 0
	Name   string // the name or the address by which the guest reaches it
}

// Run is RunAt for a guest that reaches the loopback of this host by the name or the
// address host.
func (o Options) Run(ctx context.Context, m Machine, from platforms.Origin, host string, out platforms.Logger) error {
	return o.RunAt(ctx, m, from, Host{Listen: "127.0.0.1:0", Name: host}, out)
}

// RunAt starts the machine, types the boot command, serves what the installer asks for,
// and waits until it has done its work.
func (o Options) RunAt(ctx context.Context, m Machine, from platforms.Origin, host Host, out platforms.Logger) (err error) {
	wait, err := BootWait(o.BootWait)
	if err != nil {
		return err
	}
	address := "http://" + host.Name + "/"
	if served := from.PathsOf("http"); len(served)+len(o.HTTP) > 0 {
		s, err := serve(served, o.HTTP, host)
		if err != nil {
			return fmt.Errorf("option http: %w", err)
		}
		defer func() { err = errors.Join(err, s.close()) }()
		address = s.address
	}
	strokes, err := ParseKeys(o.BootCommand, address)
	if err != nil {
		return err
	}
	if err := m.Start(ctx); err != nil {
		return err
	}
	if len(strokes) > 0 {
		out.Progress("wait for the boot menu", 0, 0)
		if err := m.Rest(ctx, wait); err != nil {
			return err
		}
		out.Progress("type the boot command", 0, 0)
		if err := Type(ctx, m, strokes); err != nil {
			return err
		}
	}
	out.Progress("install", 0, 0)
	return m.AwaitEnd(ctx)
}
