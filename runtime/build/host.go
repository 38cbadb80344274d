package build

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/store"
)

// A Host is what builds use of this machine: the layer store and the platforms'
// drivers. Work that is about no definition has one by itself.
type Host struct {
	Config
	Store *store.Store

	notices
	lent    platforms.Host // what the runtime lends to drivers
	opening sync.Mutex
	open    map[string]platforms.Driver // by the ID of the platform value
}

// OpenHost opens the store of c. Its drivers have no ledger, and of secrets those in the
// environment, each in the variable that holds it where a definition names no other:
// nobody knows which definition a platform value is from.
func OpenHost(c Config) (*Host, error) {
	h := &Host{Config: c, notices: notices{notify: c.Notify}}
	if err := h.openStore(); err != nil {
		return nil, err
	}
	secrets, err := c.secretSources(nil, nil)
	if err != nil {
		return nil, of(KindUsage, err)
	}
	h.lent = h.Store.Host(store.Lent{Offline: c.Offline, Secrets: secrets, Ask: c.Ask})
	return h, nil
}

func (h *Host) openStore() (err error) {
	dir := h.StoreDir
	if dir == "" {
		if dir, err = store.DefaultDir(); err != nil {
			return of(KindHost, err)
		}
	}
	h.Store, err = store.Open(dir, store.WithWarn(h.note))
	return of(KindHost, err)
}

// Driver returns the driver of the platform value p. It is made once.
func (h *Host) Driver(p *plan.Platform) (platforms.Driver, error) {
	h.opening.Lock()
	defer h.opening.Unlock()
	if d, ok := h.open[p.ID()]; ok {
		return d, nil
	}
	spec := h.Spec(p.Name)
	if spec.New == nil {
		return nil, fmt.Errorf("no platform is called %q", p.Name)
	}
	d, err := spec.New(p.Options, h.lent)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	if h.open == nil {
		h.open = make(map[string]platforms.Driver)
	}
	h.open[p.ID()] = d
	return d, nil
}

// fingerprint returns the fingerprint of p's driver.
func (h *Host) fingerprint(p *plan.Platform) (string, error) {
	d, err := h.Driver(p)
	if err != nil {
		return "", err
	}
	return d.Fingerprint(), nil
}

// Problems returns what this host lacks for anything that the program can do.
func (h *Host) Problems() []platforms.Problem {
	var all problemSet
	for _, spec := range h.Platforms {
		d, err := h.Driver(&plan.Platform{Name: spec.Name})
		if err != nil {
			all.add(platforms.Problem{What: err.Error(), Need: "the platform " + spec.Name})
			continue
		}
		if checker, ok := d.(platforms.Checker); ok {
			all.add(checker.Check()...)
		}
	}
	all.add(export.DiskProblems("")...)
	all.add(h.Formats.Problems(h.Formats.Names())...)
	return all.list
}

// A problemSet lists problems, each once.
type problemSet struct{ list []platforms.Problem }

func (s *problemSet) add(problems ...platforms.Problem) {
	for _, p := range problems {
		if !slices.Contains(s.list, p) {
			s.list = append(s.list, p)
		}
	}
}

// tellAfter is how long cleaning up may take before the user is told.
const tellAfter = 2 * time.Second

// Close ends what the drivers hold, such as idle machines, and closes the store. It
// tells that it waits where that takes long.
func (h *Host) Close() error {
	err := h.closeDrivers()
	if h.Store != nil {
		err = errors.Join(err, h.Store.Close())
	}
	return err
}

func (h *Host) closeDrivers() error {
	h.opening.Lock()
	defer h.opening.Unlock()
	told := make(chan struct{})
	timer := time.AfterFunc(tellAfter, func() {
		h.note("cleaning up: waiting for machines to end")
		close(told)
	})
	var g sync.WaitGroup
	errs := make([]error, len(h.open))
	i := 0
	for _, d := range h.open {
		if c, ok := d.(platforms.Closer); ok {
			err := &errs[i]
			i++
			g.Go(func() { *err = c.Close() })
		}
	}
	g.Wait()
	if !timer.Stop() {
		<-told
	}
	h.open = nil
	return errors.Join(errs...)
}
