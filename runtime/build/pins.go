package build

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"bake.build/bake/builtins"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/lock"
	"bake.build/bake/runtime/plan"
)

// pinsOf returns the pins of the sources of p.
func pinsOf(p *plan.Plan) builtins.Pins {
	pins := builtins.Pins{}
	for _, n := range p.Nodes {
		id := builtins.SourceID(n)
		if id == "" {
			continue
		}
		pins[id] = platforms.Pin{}
		if n.Pin != nil {
			pins[id] = *n.Pin
		}
	}
	return pins
}

// pin hashes the inputs of p and gives its sources their pins.
func (b *Build) pin(ctx context.Context, p *plan.Plan) error {
	var given []string
	var uses []builtins.SecretUse
	if b.Definition != nil { // otherwise nobody knows which secrets there are
		given, uses = b.Secrets, b.Definition.Secrets
	}
	var err error
	if b.secrets, err = b.secretSources(given, uses); err != nil {
		return of(KindUsage, err)
	}
	if b.ledger == nil {
		if err := b.prepare(); err != nil {
			return err
		}
	}
	if err := p.HashInputs(ctx, b.Store.StatCache()); err != nil {
		return of(KindDefinition, err)
	}
	if b.resolver == nil {
		file, err := lock.Load(filepath.Join(b.Project.Root, lock.Name))
		if err != nil {
			return of(KindDefinition, err)
		}
		b.resolver = b.resolverOf(file)
	}
	return b.resolve(ctx, p)
}

// resolverOf makes pins and keeps them in file.
func (b *Build) resolverOf(file *lock.File) *lock.Resolver {
	return &lock.Resolver{File: file, Drivers: b.Driver, Locked: b.Locked, Changed: b.pinChanged, Reach: b.reach}
}

// reach returns platforms.ErrOffline for a platform that is not on this machine where
// no server is to be asked. Drivers of others hold it themselves.
func (b *Build) reach(p *plan.Platform) error {
	if b.Offline && b.Spec(p.Name).Publishes {
		return fmt.Errorf("platform %s: %w", p.Name, platforms.ErrOffline)
	}
	return nil
}

// checkOffline returns an error where a platform that cannot be reached is to say what
// is there of nodes or of what they need.
func (b *Build) checkOffline(nodes []*plan.Node) error {
	seen := map[*plan.Node]bool{}
	var check func(n *plan.Node) error
	check = func(n *plan.Node) error {
		if seen[n] {
			return nil
		}
		seen[n] = true
		if n.Platform != nil {
			if err := b.reach(n.Platform); err != nil {
				return of(KindDefinition, &plan.Error{Pos: n.Pos, Err: err})
			}
		}
		for _, d := range n.Deps {
			if err := check(d); err != nil {
				return err
			}
		}
		return nil
	}
	for _, n := range nodes {
		if err := check(n); err != nil {
			return err
		}
	}
	return nil
}

func (b *Build) resolve(ctx context.Context, p *plan.Plan) error {
	if err := b.resolver.Pin(ctx, p); err != nil {
		return b.notPinned(ctx, p, err)
	}
	return nil
}

// notPinned gives err, of resolving the origins of p, its kind. Where the cause may
// be a tool that is missing, all that is missing is told at once.
func (b *Build) notPinned(ctx context.Context, p *plan.Plan, err error) error {
	var option *platforms.OptionError
	if errors.Is(err, platforms.ErrOffline) {
		return of(KindDefinition, WithHint(err, "bake update, with a network, pins it and keeps what that downloads"))
	}
	if errors.Is(err, lock.ErrLocked) || errors.As(err, &option) {
		return of(KindDefinition, err)
	}
	var sources []*plan.Node
	for _, n := range p.Nodes {
		if _, ok := n.Op.(plan.Source); ok {
			sources = append(sources, n)
		}
	}
	if lack := b.checkHost(ctx, sources); lack != nil {
		return lack
	}
	return err
}

func (b *Build) seal() error {
	return of(KindDefinition, b.Definition.Plan.Seal(b.fingerprint))
}

// confirm makes sure that the pins of the sources among nodes, which are about
// to be imported, can still be had. moved says that keys have changed.
func (b *Build) confirm(ctx context.Context, nodes []*plan.Node) (moved bool, err error) {
	if moved, err = b.resolver.Confirm(ctx, nodes); err != nil {
		if errors.Is(err, lock.ErrLocked) || errors.Is(err, platforms.ErrOffline) {
			err = of(KindDefinition, err)
		}
		return moved, err
	}
	if moved && b.context.Stale(pinsOf(b.Definition.Plan)) {
		return true, ErrPinsMoved
	}
	if moved {
		return true, b.seal()
	}
	return false, nil
}

// Update resolves every origin again, and returns how many pins have changed since the
// definition was opened. They are saved when the build is closed. The plan stays as
// it was.
func (b *Build) Update(ctx context.Context) (changed int, err error) {
	b.resolver.Update = true
	err = b.resolve(ctx, b.Definition.Plan)
	return int(b.repinned.Load()), err
}

func (b *Build) pinChanged(n *plan.Node, old *platforms.Pin, now platforms.Pin) {
	b.repinned.Add(1)
	if b.trial {
		return
	}
	state := short(now.ID)
	if now.Date != "" {
		state += " of " + now.Date
	}
	if old == nil {
		b.note(fmt.Sprintf("%s: pinned to %s in %s", n.Name, state, lock.Name))
		return
	}
	b.warn(fmt.Sprintf("%s: the pin %s of %s no longer holds; now pinned to %s", n.Name, short(old.ID), lock.Name, state))
}

// short cuts a digest for display.
func short(id string) string {
	const most = len("sha256:") + 12
	if len(id) > most && strings.Contains(id, ":") {
		return id[:most]
	}
	return id
}
