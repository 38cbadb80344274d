package instance

import (
	"context"
	_ "embed" // for scripts
	"errors"
	"fmt"
	"strings"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/identity"
	"bake.build/bake/platforms/remote"
	"bake.build/bake/platforms/ssh"
)

// Commit implements platforms.Machine. Layers are kept by the cloud. The instance goes on
// while the cloud makes one.
func (m *Machine) Commit(ctx context.Context, s platforms.State) (platforms.Made, error) {
	if ctx.Err() != nil {
		return platforms.Made{}, context.Cause(ctx)
	}
	m.mu.Lock()
	closed := m.closed
	m.mu.Unlock()
	if closed {
		return platforms.Made{}, fmt.Errorf("commit: %s: the machine is closed", m.c.Name)
	}
	if !m.c.Layers.Worth(m.c.Policy, s.Needed, m.since) {
		return platforms.Made{Dropped: true}, nil
	}
	ref, err := m.save(ctx, s)
	return platforms.Made{Ref: ref, Traits: m.c.Traits, Dropped: ref == ""}, err
}

// save begins the layer. The reference is "" where there is none.
func (m *Machine) save(ctx context.Context, s platforms.State) (ref string, err error) {
	if err := m.explain(ctx, m.hide(ctx)); err != nil {
		return "", fmt.Errorf("remove what was put there for the build: %w", err)
	}
	begun := time.Now()
	ref, err = m.c.Cloud.Snapshot(ctx, s)
	back := m.bring(context.WithoutCancel(ctx))
	if err != nil {
		return "", errors.Join(m.explain(ctx, err), back)
	}
	if ref == "" || back != nil {
		return ref, back
	}
	m.since = time.Now()
	m.c.Layers.Began(ref)
	m.making.Go(func() {
		if err := m.settle(s, ref, begun); err != nil {
			m.mu.Lock()
			m.lost = append(m.lost, fmt.Errorf("the layer of %s is lost: %w", s.Name, err))
			m.mu.Unlock()
		}
	})
	return ref, nil
}

// settle waits until a layer is made. How long that took is what the next one is
// held to cost. One that failed is removed if nobody needs it; who needs one finds out.
// The cloud makes it to its end without anybody waiting, so that a build that is cancelled
// does not; gc removes one that has failed then.
func (m *Machine) settle(s platforms.State, ref string, begun time.Time) error {
	err := m.c.Cloud.Await(m.life, ref)
	switch {
	case err == nil:
		m.c.Layers.Took(time.Since(begun))
		return nil
	case s.Needed || m.life.Err() != nil:
		return nil
	case errors.Is(err, remote.ErrFailed):
		return errors.Join(err, m.c.Cloud.Discard(m.life, ref))
	}
	return err
}

// Settle waits until the cloud has made the layers that were begun, or the build ends.
func (m *Machine) Settle() { m.making.Wait() }

// What is in the machine for the build, and what a machine must not share with those
// that are made of its layer, is taken away while that is made: the build's key, what
// cloud-init keeps of this instance, user data included, the machine's identity, its
// random seed and leases, and its host keys where something makes new ones. It waits in
// memory, and the machine's disks are written before the moment of the snapshot, logs of
// file systems included. $1 is the key.
var (
	//go:embed hide.sh
	hideScript string
	//go:embed bring.sh
	bringScript string
)

func (m *Machine) hide(ctx context.Context) error {
	return m.script(ctx, ssh.FlushLogs+identity.Script+hideScript, strings.Fields(m.c.Key.Authorized())[1])
}

func (m *Machine) bring(ctx context.Context) error {
	if err := m.script(ctx, bringScript); err != nil {
		return fmt.Errorf("bring back what was taken away for the layer: %w", err)
	}
	return nil
}

func (m *Machine) script(ctx context.Context, text string, args ...string) error {
	var said strings.Builder
	err := m.ssh.Run(ctx, platforms.Cmd{Args: append([]string{"sh", "-c", text, "sh"}, args...), Stdout: &said, Stderr: &said})
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(said.String()))
	}
	return nil
}
