package build

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"bake.build/bake/builtins"
	"bake.build/bake/runtime/ledger"
	"bake.build/bake/runtime/lock"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/store"
	"bake.build/bake/starlark/eval"
)

// A Build is the work on one definition: evaluated, with its inputs hashed, its
// origins pinned and all keys known, and with the store open. Its methods are
// called by one goroutine at a time.
type Build struct {
	*Host
	Project    *eval.Project
	Definition *builtins.Definition

	context   *builtins.Context // what the definition was evaluated in
	modules   *modules          // what it loads; nil before it was evaluated
	trial     bool              // nothing of the project is written
	ledger    *ledger.Ledger
	resolver  *lock.Resolver
	secrets   func(name string) ([]byte, error)
	rightsErr error        // why machines cannot be had, or nil
	repinned  atomic.Int32 // how many pins were made or changed

	mu         sync.Mutex
	registered map[*plan.Node]registered // what is registered of publications
}

// ErrPinsMoved says that a pin is no longer what the definition has read of it: the
// definition has to be opened once more.
var ErrPinsMoved = errors.New("the definition reads pins that have changed meanwhile")

// Use opens a definition, calls use and closes it. Where pins move that the
// definition reads, it does so once more. Errors are SourceErrors.
func Use(ctx context.Context, c Config, definition string, use func(*Build) error) error {
	err := useOnce(ctx, c, definition, use)
	if errors.Is(err, ErrPinsMoved) && ctx.Err() == nil {
		err = useOnce(ctx, c, definition, use)
	}
	return err
}

func useOnce(ctx context.Context, c Config, definition string, use func(*Build) error) error {
	b, err := Open(ctx, c, definition)
	if err != nil {
		return err
	}
	if err := errors.Join(use(b), b.Close()); err != nil {
		return &SourceError{b.Project, err}
	}
	return nil
}

// Open evaluates a definition, a path as seen from c.Dir, opens the store and seals
// the plan: its inputs are hashed, its origins pinned, all its keys known. Errors
// are SourceErrors; the build must be closed.
func Open(ctx context.Context, c Config, definition string) (*Build, error) {
	b := &Build{Host: &Host{Config: c, notices: notices{notify: c.Notify, hold: true}}}
	if c.Rights != nil {
		// The store's layers and their keys are those of the rights that machines
		// need.
		b.rightsErr = of(KindHost, c.Rights())
	}
	if err := b.open(ctx, definition); err != nil {
		return nil, &SourceError{b.Project, errors.Join(err, b.Close())}
	}
	return b, nil
}

func (b *Build) open(ctx context.Context, definition string) (err error) {
	var pins builtins.Pins
	var printed bytes.Buffer // by the last evaluation
	defer func() {
		if b.Printed != nil {
			_, writeErr := printed.WriteTo(b.Printed)
			err = errors.Join(err, writeErr)
		}
	}()
	// A definition that reads pins may begin on other origins with each round.
	const rounds = 5
	for range rounds {
		e, err := evaluate(ctx, b.Host, b.modules, definition, pins, &printed)
		b.Project, b.context, b.Definition, b.modules = e.project, e.context, e.definition, e.modules
		if err != nil && (e.context == nil || len(e.context.Reads()) == 0) {
			return err
		}
		p := &plan.Plan{}
		if err == nil {
			p = b.Definition.Plan
		} else {
			p.Nodes = e.context.Reads()
		}
		if pinErr := b.pin(ctx, p); pinErr != nil {
			if err == nil {
				err = pinErr
			}
			return err
		}
		if pins = pinsOf(p); !e.context.Stale(pins) {
			if err == nil {
				err = b.seal()
			}
			return err
		}
		printed.Reset()
	}
	return of(KindDefinition, fmt.Errorf("%s: each evaluation of it reads pins of other origins", b.Project.Show(b.Project.Definition)))
}

// prepare opens what all work on a definition needs.
func (b *Build) prepare() (err error) {
	if b.Store == nil {
		if err := b.openStore(); err != nil {
			return err
		}
	}
	name, err := b.projectName()
	if err != nil {
		return of(KindDefinition, err)
	}
	if b.ledger, err = ledger.Open(b.Store.Dir(), rand.Text(), name); err != nil {
		return of(KindHost, err)
	}
	// Which secrets there are may change with each evaluation.
	secrets := func(name string) ([]byte, error) { return b.secrets(name) }
	b.lent = b.Store.Host(store.Lent{Offline: b.Offline, Ledger: b.ledger, Secrets: secrets, Ask: b.Ask})
	return nil
}

// projectVariable is the variable of the environment that names the project.
const projectVariable = "BAKE_PROJECT"

// projectName returns the identity of the project: what the environment says, or
// what its files do.
func (b *Build) projectName() (string, error) {
	if name := b.getenv(projectVariable); name != "" {
		return name, eval.CheckName(name)
	}
	return b.Project.Name()
}

// CheckRights returns why machines of the definition cannot be had on this host, or
// nil.
func (b *Build) CheckRights() error {
	if b.rightsErr == nil {
		return nil
	}
	for _, n := range b.Definition.Plan.Nodes {
		if n.Platform != nil && !b.Spec(n.Platform.Name).Boots {
			return b.rightsErr
		}
	}
	return nil
}

// savePins is how long another process may hold bake.lock, which takes
// milliseconds.
const savePins = 30 * time.Second

// Close saves what the build learned of pins and closes the store.
func (b *Build) Close() error {
	var err error
	b.flush()
	// Also after an interrupt: what was built is what the pins say.
	ctx, cancel := context.WithTimeout(context.Background(), savePins)
	defer cancel()
	if b.resolver != nil && !b.trial {
		err = b.resolver.File.Save(ctx)
	}
	if b.modules != nil && b.modules.lock != nil && !b.trial {
		err = errors.Join(err, b.modules.lock.Save(ctx))
	}
	err = errors.Join(err, b.closeDrivers())
	if b.ledger != nil {
		err = errors.Join(err, b.ledger.Close())
	}
	if b.Store != nil {
		err = errors.Join(err, b.Store.Close())
	}
	return err
}
