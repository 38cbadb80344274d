package resource

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"bake.build/bake/platforms"
)

// A Kind is a kind of thing that a driver makes outside of this host.
type Kind struct {
	Name string // such as "instance"

	// Remove removes what a record is of, with what was made for it alone, and says
	// what became of it. What is not there, or not seen, is no error.
	Remove func(ctx context.Context, r platforms.Resource) (platforms.Collected, error)
}

// A Found is something that a build has begun, as its tags say, and neither finished nor
// removed.
type Found struct {
	Kind, ID string    // as in the record that its build has begun
	Build    string    // the build's id
	Made     time.Time // zero counts as long ago
}

// A Manager is what a driver makes outside of this host: it begins the records of that,
// and is the driver's platforms.GarbageCollector.
type Manager struct {
	Platform string
	Options  json.RawMessage  // of the platform value, canonical JSON
	Ledger   platforms.Ledger // of the build
	Kinds    []Kind           // in the order in which they can be removed: what needs others is before them

	// Identify returns the account that the driver works in. It is nil where there is
	// one only.
	Identify func(ctx context.Context) (string, error)

	// Tagged returns what bake has tagged in a place and no build has finished or
	// removed: see Found. It may be nil where nothing can be tagged.
	Tagged func(ctx context.Context, place string) ([]Found, error)
	Places Places

	// Pause returns how long is waited before something is looked for a second time.
	// It may be nil.
	Pause func() time.Duration
}

var _ platforms.GarbageCollector = (*Manager)(nil)

func (m *Manager) pause() time.Duration {
	if m.Pause == nil {
		return time.Second
	}
	return m.Pause()
}

// Account implements platforms.GarbageCollector.
func (m *Manager) Account(ctx context.Context) (string, error) {
	if m.Identify == nil {
		return "", nil
	}
	return m.Identify(ctx)
}

// Begin records what is about to be asked for. Its id is one that it can be found by
// when the answer is lost, such as its name or a tag.
func (m *Manager) Begin(ctx context.Context, kind, place, id string) (*Record, error) {
	account, err := m.Account(ctx)
	if err != nil {
		return nil, err
	}
	r := m.resource(account, place, Found{Kind: kind, ID: id, Build: m.Ledger.Build()})
	forget, err := m.Ledger.Begin(r)
	if err != nil {
		return nil, err
	}
	return &Record{manager: m, resource: r, forget: forget}, nil
}

func (m *Manager) resource(account, place string, f Found) platforms.Resource {
	return platforms.Resource{Platform: m.Platform, Options: m.Options, Account: account, Place: place, Kind: f.Kind, ID: f.ID, Build: f.Build}
}

// Collect implements platforms.GarbageCollector.
func (m *Manager) Collect(ctx context.Context, r platforms.Resource) (platforms.Collected, error) {
	i := m.order(r.Kind)
	if i < 0 {
		return platforms.Collected{}, fmt.Errorf("%s: no resource is called %q", m.Platform, r.Kind)
	}
	return m.Kinds[i].Remove(ctx, r)
}

func (m *Manager) order(kind string) int {
	return slices.IndexFunc(m.Kinds, func(k Kind) bool { return k.Name == kind })
}

// Orphans implements platforms.GarbageCollector: it looks in all places, and returns
// what it finds in the order in which it can be removed.
func (m *Manager) Orphans(ctx context.Context, before time.Time) ([]platforms.Resource, error) {
	if m.Tagged == nil {
		return nil, nil
	}
	account, err := m.Account(ctx)
	if err != nil {
		return nil, err
	}
	found, err := Everywhere(ctx, m.Places, func(ctx context.Context, place string) (left []platforms.Resource, err error) {
		list, err := m.Tagged(ctx, place)
		for _, f := range list {
			if f.Made.Before(before) {
				left = append(left, m.resource(account, place, f))
			}
		}
		return left, err
	})
	slices.SortFunc(found, func(a, b platforms.Resource) int {
		return cmp.Or(cmp.Compare(m.order(a.Kind), m.order(b.Kind)), cmp.Compare(a.Place, b.Place), cmp.Compare(a.ID, b.ID))
	})
	return found, err
}
