package resource

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"

	"bake.build/bake/platforms"
)

// Places are where an account may have something, such as the regions of a cloud. The
// zero value is that of a platform with one place, which has no name.
type Places struct {
	// List returns the places that the account can use, and which of them is the
	// driver's own.
	List func(ctx context.Context) (own string, all []string, err error)

	// Denied reports whether an error says that these credentials may not look at a
	// place. It may be nil.
	Denied func(err error) bool

	AtOnce int // places that are worked on at once; 0 means one
}

// Everywhere calls do for all places at once and returns what it has found there, also
// beside an error. A place that fails keeps no other from being worked on. One that may not be
// looked at is platforms.Unseen, unless it is the driver's own.
func Everywhere[T any](ctx context.Context, p Places, do func(ctx context.Context, place string) ([]T, error)) ([]T, error) {
	if p.List == nil {
		return do(ctx, "")
	}
	own, all, err := p.List(ctx)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var found []T
	var errs []error
	var g errgroup.Group
	g.SetLimit(max(1, p.AtOnce))
	for _, place := range all {
		g.Go(func() error {
			list, err := do(ctx, place)
			if err != nil && place != own && p.Denied != nil && p.Denied(err) {
				err = &platforms.Unseen{Place: place, Err: err}
			}
			mu.Lock()
			defer mu.Unlock()
			found, errs = append(found, list...), append(errs, err)
			return nil
		})
	}
	return found, errors.Join(append(errs, g.Wait())...)
}
