package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"bake.build/bake/builtins"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/ledger"
	"bake.build/bake/runtime/lock"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/solve"
	"bake.build/bake/runtime/store"
	"bake.build/bake/runtime/ui"
	"bake.build/bake/starlark/eval"
	"bake.build/bake/stdlib"
)

// A session is one verb's work on one definition: evaluated, sealed, with the
// store open. Close ends it.
type session struct {
	*app
	project  *eval.Project
	context  *builtins.Context // what the definition was evaluated in
	def      *builtins.Definition
	store    *store.Store
	ledger   *ledger.Ledger
	drivers  *driverTable
	resolver *lock.Resolver
	secrets  func(name string) ([]byte, error)
	enterErr error // why machines cannot be had, or nil

	suspender ui.Suspender // the live display, or nil
	repinned  atomic.Int32 // how many pins were made or changed

	mu       sync.Mutex
	events   *event.Stream             // of the running build; nil before and after it
	notes    []event.Event             // what to tell the user, while nothing takes events
	standing map[plan.Key][]solve.File // images on platforms that were found to stand
}

// evaluate reads a definition. Its errors have the code exitDefinition. With an
// error the definition is nil, and c may say which pins it has read.
func (a *app) evaluate(ctx context.Context, file string, f *definitionFlags, pins builtins.Pins, print io.Writer) (project *eval.Project, c *builtins.Context, def *builtins.Definition, err error) {
	project, err = eval.OpenProject(a.abs(file), a.dir)
	if err != nil {
		return nil, nil, nil, coded(exitDefinition, withHint(err, "bake init writes a first definition"))
	}
	params, err := a.params(f)
	if err != nil {
		return project, nil, nil, coded(exitDefinition, err)
	}
	c = builtins.New(builtins.Config{Project: project, Platforms: a.specs, Formats: a.formats, Params: params, Pins: pins})
	_, err = eval.Run(ctx, eval.Config{
		Project:     project,
		Predeclared: c.Predeclared(a.builtins),
		Std:         stdlib.FS,
		Undefined:   c.Undefined,
		Print:       func(pos plan.Pos, text string) { fmt.Fprintf(print, "%s: %s\n", pos, text) },
	})
	if failures := c.Failures(); err != nil && failures != nil && !eval.IsLimit(err) && ctx.Err() == nil {
		err = failures // which the last error follows from
	}
	if err == nil {
		def, err = c.Finish()
	}
	return project, c, def, coded(exitDefinition, err)
}

// openStore opens the layer store of the user.
func (a *app) openStore(warn func(string)) (*store.Store, error) {
	dir, err := store.DefaultDir()
	if err != nil {
		return nil, coded(exitHost, err)
	}
	s, err := store.Open(dir, store.WithWarn(warn))
	return s, coded(exitHost, err)
}

// errPinsMoved says that a pin is no longer what the definition has read of it.
var errPinsMoved = errors.New("the definition reads pins that have changed meanwhile")

// withSession runs use with a definition opened, for a verb that starts no
// machine. Where pins move that the definition reads, it is opened once more.
func (a *app) withSession(ctx context.Context, file string, f *definitionFlags, use func(*session) error) error {
	err := a.inSession(ctx, file, f, use)
	if errors.Is(err, errPinsMoved) && ctx.Err() == nil {
		err = a.inSession(ctx, file, f, use)
	}
	return err
}

func (a *app) inSession(ctx context.Context, file string, f *definitionFlags, use func(*session) error) (err error) {
	// The store's layers and their keys are those of the rights that machines
	// need. Where these cannot be had, the definition can still be looked at.
	enterErr := a.enterHost()
	s, err := a.open(ctx, file, f)
	if err != nil {
		return err
	}
	s.enterErr = enterErr
	defer func() {
		if err = errors.Join(err, s.Close()); err != nil {
			err = &sourced{s.project, err}
		}
	}()
	return use(s)
}

// withMachines is withSession for a verb that starts machines.
func (a *app) withMachines(ctx context.Context, file string, f *buildFlags, use func(*session) error) error {
	if err := f.check(); err != nil {
		return err
	}
	return a.withSession(ctx, file, &f.definitionFlags, func(s *session) error {
		if s.enterErr != nil && s.needsRights() {
			return s.enterErr
		}
		return use(s)
	})
}

// needsRights reports whether a machine of the definition needs rights on this
// host.
func (s *session) needsRights() bool {
	for _, n := range s.def.Plan.Nodes {
		if n.Platform != nil && !s.spec(n.Platform.Name).Boots {
			return true
		}
	}
	return false
}

// spec returns what declares a platform.
func (a *app) spec(name string) platforms.Spec {
	for _, s := range a.specs {
		if s.Name == name {
			return s
		}
	}
	return platforms.Spec{}
}

// open evaluates a definition, opens the store and seals the plan: its inputs
// are hashed, its origins pinned, all its keys known.
func (a *app) open(ctx context.Context, file string, f *definitionFlags) (s *session, err error) {
	s = &session{app: a}
	defer func() {
		if err != nil {
			err = &sourced{s.project, errors.Join(err, s.Close())}
			s = nil
		}
	}()
	var pins builtins.Pins
	var printed bytes.Buffer // by the last evaluation
	defer func() {
		_, writeErr := printed.WriteTo(a.stderr)
		err = errors.Join(err, writeErr)
	}()
	// A definition that reads pins may begin on other origins with each round.
	const rounds = 5
	for range rounds {
		s.project, s.context, s.def, err = a.evaluate(ctx, file, f, pins, &printed)
		c := s.context
		if err != nil && (c == nil || len(c.Reads()) == 0) {
			return s, err
		}
		p := &plan.Plan{Nodes: c.Reads()}
		if err == nil {
			p = s.def.Plan
		}
		if pinErr := s.pin(ctx, p, f); pinErr != nil {
			if err == nil {
				err = pinErr
			}
			return s, err
		}
		if pins = pinsOf(p); !c.Stale(pins) {
			if err == nil {
				err = s.seal()
			}
			return s, err
		}
		printed.Reset()
	}
	return s, coded(exitDefinition, fmt.Errorf("%s: each evaluation of it reads pins of other origins", s.project.Show(s.project.Definition)))
}

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

// prepare opens what all work on a definition needs.
func (s *session) prepare() (err error) {
	if s.store, err = s.openStore(s.note); err != nil {
		return err
	}
	name, err := s.projectName(s.project)
	if err != nil {
		return coded(exitDefinition, err)
	}
	if s.ledger, err = ledger.Open(s.store.Dir(), rand.Text(), name); err != nil {
		return coded(exitHost, err)
	}
	// Which secrets there are may change with each evaluation.
	secrets := func(name string) ([]byte, error) { return s.secrets(name) }
	s.drivers = &driverTable{specs: s.specs, host: s.store.Host(store.Lent{Ledger: s.ledger, Secrets: secrets, Ask: s.ask(s.suspend)})}
	return nil
}

// pin hashes the inputs of p and gives its sources their pins.
func (s *session) pin(ctx context.Context, p *plan.Plan, f *definitionFlags) error {
	var flags []string
	var uses []builtins.SecretUse
	if s.def != nil { // otherwise nobody knows which secrets there are
		flags, uses = f.secrets, s.def.Secrets
	}
	var err error
	if s.secrets, err = s.secretSources(flags, uses); err != nil {
		return coded(exitUsage, err)
	}
	if s.store == nil {
		if err := s.prepare(); err != nil {
			return err
		}
	}
	if err := p.HashInputs(ctx, s.store.StatCache()); err != nil {
		return coded(exitDefinition, err)
	}
	if s.resolver != nil {
		return s.resolve(ctx, p)
	}
	file, err := lock.Load(filepath.Join(s.project.Root, lock.Name))
	if err != nil {
		return coded(exitDefinition, err)
	}
	s.resolver = &lock.Resolver{
		File:    file,
		Drivers: s.drivers.get,
		Locked:  f.locked,
		Changed: s.pinChanged,
	}
	return s.resolve(ctx, p)
}

func (s *session) resolve(ctx context.Context, p *plan.Plan) error {
	if err := s.resolver.Pin(ctx, p); err != nil {
		return s.notPinned(p, err)
	}
	return nil
}

// notPinned gives err, of resolving the origins of p, its exit code. Where the
// cause may be a tool that is missing, all that is missing is told at once.
func (s *session) notPinned(p *plan.Plan, err error) error {
	var option *platforms.OptionError
	if errors.Is(err, lock.ErrLocked) || errors.As(err, &option) {
		return coded(exitDefinition, err)
	}
	var sources []*plan.Node
	for _, n := range p.Nodes {
		if _, ok := n.Op.(plan.Source); ok {
			sources = append(sources, n)
		}
	}
	if lack := s.checkHost(sources); lack != nil {
		return lack
	}
	return err
}

func (s *session) seal() error {
	return coded(exitDefinition, s.def.Plan.Seal(s.drivers.fingerprint))
}

// confirm makes sure that the pins of the sources among nodes, which are about
// to be imported, can still be had. moved says that keys have changed.
func (s *session) confirm(ctx context.Context, nodes []*plan.Node) (moved bool, err error) {
	if moved, err = s.resolver.Confirm(ctx, nodes); err != nil {
		if errors.Is(err, lock.ErrLocked) {
			err = coded(exitDefinition, err)
		}
		return moved, err
	}
	if moved && s.context.Stale(pinsOf(s.def.Plan)) {
		return true, errPinsMoved
	}
	if moved {
		return true, s.seal()
	}
	return false, nil
}

func (s *session) pinChanged(n *plan.Node, old *platforms.Pin, now platforms.Pin) {
	s.repinned.Add(1)
	state := short(now.ID)
	if now.Date != "" {
		state += " of " + now.Date
	}
	if old == nil {
		s.note(fmt.Sprintf("%s: pinned to %s in %s", n.Name, state, lock.Name))
		return
	}
	s.warn(fmt.Sprintf("%s: the pin %s of %s no longer holds; now pinned to %s", n.Name, short(old.ID), lock.Name, state))
}

// short cuts a digest for display.
func short(id string) string {
	const most = len("sha256:") + 12
	if len(id) > most && strings.Contains(id, ":") {
		return id[:most]
	}
	return id
}

// note tells the user something besides the build itself, and warn what needs
// attention. Both may be called from any goroutine.
func (s *session) note(text string) { s.send(event.Event{Type: event.Note, Text: text}) }
func (s *session) warn(text string) { s.send(event.Event{Type: event.Warning, Text: text}) }

func (s *session) send(e event.Event) {
	s.mu.Lock()
	events := s.events
	if events == nil {
		s.notes = append(s.notes, e)
	}
	s.mu.Unlock()
	if events != nil {
		events.Send(e)
	}
}

// stream makes events the place where notes go; nil ends that.
func (s *session) stream(events *event.Stream) {
	s.mu.Lock()
	notes := s.notes
	if s.events = events; events != nil {
		s.notes = nil
	}
	s.mu.Unlock()
	if events == nil {
		return
	}
	for _, e := range notes {
		events.Send(e)
	}
}

// tell prints the notes that no stream took.
func (s *session) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.notes {
		if e.Type == event.Warning {
			fmt.Fprint(s.stderr, "warning: ")
		}
		fmt.Fprintln(s.stderr, e.Text)
	}
	s.notes = nil
}

// savePins is how long another process may hold bake.lock, which takes
// milliseconds.
const savePins = 30 * time.Second

// Close saves what the session learned and closes the store.
func (s *session) Close() error {
	var err error
	s.tell()
	if s.resolver != nil {
		// Also after an interrupt: what was built is what the pins say.
		ctx, cancel := context.WithTimeout(context.Background(), savePins)
		err = s.resolver.File.Save(ctx)
		cancel()
	}
	if s.drivers != nil {
		err = errors.Join(err, s.drivers.Close(s.stderr))
	}
	if s.ledger != nil {
		err = errors.Join(err, s.ledger.Close())
	}
	if s.store != nil {
		err = errors.Join(err, s.store.Close())
	}
	return err
}

// A sourced error comes from a definition whose text can be shown.
type sourced struct {
	project *eval.Project
	err     error
}

func (e *sourced) Error() string { return e.err.Error() }
func (e *sourced) Unwrap() error { return e.err }
