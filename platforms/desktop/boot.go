package desktop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/installer"
	"bake.build/bake/platforms/seed"
	"bake.build/bake/platforms/wait"
)

// boot starts a machine on the chain and logs in.
func (d *Driver) boot(ctx context.Context, chain []platforms.Layer, out platforms.Logger) (_ *machine, err error) {
	a, err := readAbout(chain[0].Dir)
	if err != nil {
		return nil, err
	}
	m, err := d.newMachine(ctx, d.settings.hardware(a.Hardware))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.End())
		}
	}()
	s := m.spec()
	for i := range a.Disks {
		media, err := d.place(ctx, chain, i, m.dir)
		if err != nil {
			return nil, err
		}
		m.chains = append(m.chains, media)
		s.Disks = append(s.Disks, Disk{Media: media})
	}
	if path := nvramOf(chain); path != "" {
		if s.NVRAM = filepath.Join(m.dir, nvramName); err != nil {
			return nil, err
		}
		if err := copyFile(ctx, s.NVRAM, path); err != nil {
			return nil, err
		}
	}
	if err := m.letIn(&s, seed.Building); err != nil {
		return nil, err
	}
	if err := m.start(ctx, s, ""); err != nil {
		return nil, err
	}
	m.typeBoot()
	return m, m.login(ctx, out)
}

// letIn puts what lets bake in where a machine finds it when it boots.
func (m *machine) letIn(s *Spec, stage seed.Stage) (err error) {
	key, err := m.d.key()
	if err != nil {
		return err
	}
	login := seed.Login{User: m.d.settings.login.User, Key: key.Authorized(), Stage: stage}
	s.OEM = login.BriefCredential()
	path := filepath.Join(m.dir, "seed.iso")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	s.CDs = append(s.CDs, path)
	return errors.Join(login.NoCloud(f), f.Close())
}

// typeBoot types what each start of the machine waits for.
func (m *machine) typeBoot() {
	strokes := m.d.settings.keys
	if len(strokes) == 0 {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	stop := m.stop
	m.stop = func() { cancel(); stop() }
	m.beside.Go(func() {
		defer cancel()
		k, err := m.keyboard()
		if err == nil {
			err = k.Rest(ctx, m.d.settings.keysWait)
		}
		if err == nil {
			err = installer.Type(ctx, k, strokes)
		}
		if err != nil && ctx.Err() == nil && m.Alive() == nil {
			m.Fail(fmt.Errorf("boot_command: %w", err))
		}
	})
}

// awaitEnd waits until the machine has shut itself down.
func (m *machine) awaitEnd(ctx context.Context) error {
	return (wait.Loop{Backoff: wait.Backoff{Next: endPause, Most: 2 * endPause}}).Until(ctx, func(ctx context.Context) (bool, error) {
		runs, err := m.vm.Running(ctx)
		return !runs, err
	})
}
