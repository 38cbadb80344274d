// Package publish is the life of a published image, the same on every cloud: it is found
// by its name, or taken over from a build that has begun it, or made; copied to other
// places; given what can be changed of it; marked as finished; and older ones of the
// artifact are removed.
//
// # Marks
//
// What is known of an image is on the image, as marks (a cloud's tags or properties):
// builds of other hosts find and finish each other's images, and nothing is asked of a
// record on this host. An image with the mark Ready has all that the publication with
// that key asks for. One without is somebody's work in progress: its mark Build says
// whose, and another build that needs it takes it over by putting its own id there, so
// that who cleans up after the first one leaves it alone.
//
// # What a cloud gives
//
// A cloud implements Images, and what it wants of Retainer. Requests that make images
// begin a resource.Record first. Whether an answer is clear is said by resource.Unclear.
package publish

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/wait"
)

// Marks of images.
const (
	Project  = "bake:project"  // whose it is; see platforms.Ledger
	Artifact = "bake:name"     // the artifact
	Identity = "bake:image"    // what cannot be changed of the image once it is made, in hex
	Build    = "bake:build"    // the build that made it, or took it over
	Ready    = "bake:ready"    // the key, once all is done that the definition asks for
	Retained = "bake:retained" // the key, once older images were removed for it
)

// A State is how far a cloud is with an image.
type State int

// States of an image.
const (
	Pending State = iota
	Available
	Failed // it will never be available
)

// Facts are what all clouds know of an image.
type Facts struct {
	ID, Name, Place string
	State           State
	Why             string // of the state, for users; may be ""
	Created         time.Time
	Marks           map[string]string
}

// Kept returns why an image is left alone by who removes what a build has left, or "".
// The build is "" where nobody knows it.
func (f Facts) Kept(build string) string {
	switch by := f.Marks[Build]; {
	case f.Marks[Ready] != "":
		return "the image " + f.ID + " is finished"
	case by == "":
		return "the image " + f.ID + " was not made by bake"
	case build != "" && by != build:
		return "the build " + by + " has taken the image " + f.ID + " over"
	}
	return ""
}

// An Image is a cloud's own description of one.
type Image interface{ Facts() Facts }

// A Query chooses images of the account in a place. Fields that are "" choose all.
type Query struct{ ID, Name, Artifact, Project string }

// Images are the images of a cloud: the few methods that differ.
type Images[I Image] interface {
	// Find returns the images in a place that fit. One that is not there is none.
	Find(ctx context.Context, place string, q Query) ([]I, error)

	// Copy begins a copy of an image in another place, under the publication's name,
	// with the marks that Life.Marks returns. The record is not nil where it was begun,
	// also beside an error.
	Copy(ctx context.Context, from I, place string) (id string, record *resource.Record, err error)

	// Change gives an available image all that can be changed of it, and takes off it
	// what the definition does not name any more, or tells the user what stays: see
	// Life.Dropped and Life.SettingsMarks.
	Change(ctx context.Context, i I) error

	// Mark sets marks of an image and leaves others.
	Mark(ctx context.Context, i I, marks map[string]string) error

	// Delete removes an image with what was made for it alone. One that is not there is
	// no error.
	Delete(ctx context.Context, i I) error
}

// A Retainer removes images of an artifact that the definition does not keep and nothing
// uses any more, and says which ones stay. What it cannot see counts as a use. why says
// of the images why they go, such as "older than the 2 that are kept".
type Retainer[I Image] interface {
	Retire(ctx context.Context, place string, images []I, why string) error
}

// ErrTaken is part of the error of a request to make an image whose name is taken.
var ErrTaken = errors.New("the name is taken")

// errFailed is the end of waiting for an image that the cloud could not make.
var errFailed = errors.New("it could not be made")

// A failedError is errFailed with the cloud's own words.
type failedError struct{ why string }

func (e *failedError) Error() string { return e.why }

func (e *failedError) Is(target error) bool { return target == errFailed }

// A Life is that of one image in one account.
type Life[I Image] struct {
	Images   Images[I]
	Retainer Retainer[I] // nil where Keep is zero

	Places   []string // where the image is to be; it is made in the first one
	Prefix   string   // of the names of places, for users
	Name     string   // of the image
	Artifact string
	Identity string
	Key      string   // of the publication
	Keep     int      // how many images of the artifact stay; zero for all
	Settings []string // what the definition sets on the image and a later one may leave out; see SettingsMarks
	Ledger   platforms.Ledger

	Record func(ctx context.Context, i I) (*resource.Record, error) // of an image that is taken over
	Loop   func(what string) wait.Loop                              // how the cloud is waited for
	Say    func(format string, args ...any)
	AtOnce int // places that are worked on at once
}

// Marks are those of an image that is being made.
func (l *Life[I]) Marks() map[string]string {
	marks := map[string]string{Artifact: l.Artifact, Identity: l.Identity, Build: l.Ledger.Build()}
	if p := l.Ledger.Project(); p != "" {
		marks[Project] = p
	}
	return marks
}

// A Held is an image that this build looks after: its record is in the ledger.
type Held[I Image] struct {
	Image  I
	record *resource.Record
}

// Existing returns the images of the name, by place. It fails where the name is that of
// another image.
func (l *Life[I]) Existing(ctx context.Context) (map[string]I, error) {
	var mu sync.Mutex
	images := map[string]I{}
	err := l.each(ctx, func(ctx context.Context, place string) error {
		i, ok, err := l.named(ctx, place)
		if err != nil || !ok {
			return err
		}
		f := i.Facts()
		if f.Marks[Identity] != l.Identity {
			whose := ""
			if p := f.Marks[Project]; p != "" && p != l.Ledger.Project() {
				whose = ", of the project " + p
			}
			return fmt.Errorf("%s: the name %s is taken by the image %s, which is another one%s", place, l.Name, f.ID, whose)
		}
		mu.Lock()
		defer mu.Unlock()
		images[place] = i
		return nil
	})
	return images, err
}

// named returns the image of the name in a place.
func (l *Life[I]) named(ctx context.Context, place string) (i I, ok bool, err error) {
	list, err := l.Images.Find(ctx, place, Query{Name: l.Name})
	for _, i := range list {
		if i.Facts().Name == l.Name {
			return i, true, err
		}
	}
	return i, false, err
}

// each calls do for all places at once.
func (l *Life[I]) each(ctx context.Context, do func(ctx context.Context, place string) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, l.AtOnce))
	for _, place := range l.Places {
		g.Go(func() error { return do(ctx, place) })
	}
	return g.Wait()
}

// Published returns the images when all of them are finished and older ones were removed,
// and otherwise says in a few words what is missing: one request a place.
func (l *Life[I]) Published(ctx context.Context) (found []platforms.Registered, why string, err error) {
	images, err := l.Existing(ctx)
	if err != nil {
		return nil, "", err
	}
	for _, place := range l.Places {
		i, ok := images[place]
		if !ok {
			return nil, fmt.Sprintf("no image %s in %s", l.Name, l.Prefix+place), nil
		}
		f := i.Facts()
		if f.State != Available || f.Marks[Ready] != l.Key {
			return nil, fmt.Sprintf("image %s in %s is not finished", f.ID, l.Prefix+place), nil
		}
		if l.Keep > 0 && f.Marks[Retained] != l.Key {
			return nil, fmt.Sprintf("older images of %s in %s have to be removed", l.Artifact, l.Prefix+place), nil
		}
		found = append(found, l.registered(i))
	}
	return found, "", nil
}

func (l *Life[I]) registered(i I) platforms.Registered {
	f := i.Facts()
	return platforms.Registered{ID: f.ID, Place: l.Prefix + f.Place, Name: f.Name, Created: f.Created, Tags: f.Marks}
}

// Publish has the image, finished, in all places. create makes it in the first one where
// it is not there: see Created.
func (l *Life[I]) Publish(ctx context.Context, create func(ctx context.Context) (*Held[I], error)) (map[string]I, []platforms.Registered, error) {
	existing, err := l.Existing(ctx)
	if err != nil {
		return nil, nil, err
	}
	home := l.Places[0]
	own, err := l.adoptIn(ctx, existing, home)
	if err == nil && own == nil {
		own, err = create(ctx)
	}
	if err != nil {
		return nil, nil, err
	}
	return l.spread(ctx, existing, own, func(string) I { return own.Image })
}

// Receive has copies of another account's images, by their places, in all places.
func (l *Life[I]) Receive(ctx context.Context, from map[string]I) (map[string]I, []platforms.Registered, error) {
	existing, err := l.Existing(ctx)
	if err != nil {
		return nil, nil, err
	}
	return l.spread(ctx, existing, nil, func(place string) I { return from[place] })
}

// spread finishes the image in all places, where it is copied if it is not there. own is
// that in the first place, or nil.
func (l *Life[I]) spread(ctx context.Context, existing map[string]I, own *Held[I], from func(place string) I) (map[string]I, []platforms.Registered, error) {
	var mu sync.Mutex
	images := map[string]I{}
	err := l.each(ctx, func(ctx context.Context, place string) (err error) {
		held := own
		if own == nil || place != l.Places[0] {
			if held, err = l.adoptIn(ctx, existing, place); err == nil && held == nil {
				id, record, copyErr := l.Images.Copy(ctx, from(place), place)
				held, err = l.Created(ctx, place, id, record, copyErr)
			}
		}
		if err == nil {
			err = l.finish(ctx, held)
		}
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		images[place] = held.Image
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	var found []platforms.Registered
	for _, place := range l.Places {
		found = append(found, l.registered(images[place]))
	}
	return images, found, nil
}

// finish gives an image what can be changed of it, and then the mark that says so.
func (l *Life[I]) finish(ctx context.Context, h *Held[I]) error {
	if err := l.Images.Change(ctx, h.Image); err != nil {
		return err
	}
	if err := l.Images.Mark(ctx, h.Image, map[string]string{Ready: l.Key}); err != nil {
		return err
	}
	return h.record.Forget()
}

// Created waits for an image that a request has begun, or settles the failure of the
// request: a name that is taken, and an answer that was lost, may be of an image that
// another build, or a try before, has made of the same. That one is the image then.
func (l *Life[I]) Created(ctx context.Context, place, id string, record *resource.Record, failure error) (*Held[I], error) {
	switch {
	case failure == nil:
		return l.await(ctx, place, id, record)
	case record == nil:
		return nil, failure
	case ctx.Err() == nil && (errors.Is(failure, ErrTaken) || resource.IsUnclear(failure)):
		i, ok, err := l.named(ctx, place)
		if err != nil {
			return nil, errors.Join(failure, err)
		}
		if f := (Facts{}); ok {
			if f = i.Facts(); f.Marks[Identity] != l.Identity {
				failure = fmt.Errorf("the name %s is taken by %s: %w", l.Name, f.ID, failure)
				break
			}
			if held, err := l.adopt(ctx, i); err != nil || held != nil {
				return held, errors.Join(err, record.Forget())
			}
		}
	}
	return nil, record.Failed(ctx, failure)
}

// await waits for an image that this build has made. One that fails is removed: it would
// stand in the way of the next.
func (l *Life[I]) await(ctx context.Context, place, id string, record *resource.Record) (*Held[I], error) {
	i, err := l.wait(ctx, place, id)
	if errors.Is(err, errFailed) {
		return nil, errors.Join(err, record.Remove(ctx, func(ctx context.Context) error { return l.Images.Delete(ctx, i) }))
	} else if err != nil {
		return nil, err
	}
	return &Held[I]{i, record}, nil
}

// wait waits until an image is available, and returns what was last seen of it.
func (l *Life[I]) wait(ctx context.Context, place, id string) (i I, err error) {
	err = l.Loop(fmt.Sprintf("%s: image %s", place, id)).Until(ctx, func(ctx context.Context) (bool, error) {
		list, err := l.Images.Find(ctx, place, Query{ID: id})
		if err == nil && len(list) == 0 {
			err = wait.ErrNotFound
		}
		if err != nil {
			return false, err
		}
		i = list[0]
		if f := i.Facts(); f.State != Failed {
			return f.State == Available, nil
		} else if f.Why != "" {
			return false, &failedError{f.Why}
		}
		return false, errFailed
	})
	return i, err
}

func (l *Life[I]) adoptIn(ctx context.Context, existing map[string]I, place string) (*Held[I], error) {
	i, ok := existing[place]
	if !ok {
		return nil, nil
	}
	return l.adopt(ctx, i)
}

// adopt takes over an image that another build has made or begun. It returns nil where
// there is none to be had: one whose making failed is removed.
func (l *Life[I]) adopt(ctx context.Context, i I) (*Held[I], error) {
	f := i.Facts()
	l.Say("%s: image %s is there already", f.Place, f.ID)
	record, err := l.Record(ctx, i)
	if err != nil {
		return nil, err
	}
	if err := l.Images.Mark(ctx, i, map[string]string{Build: l.Ledger.Build()}); err != nil {
		return nil, fmt.Errorf("%s: take over the image %s: %w", f.Place, f.ID, err)
	}
	seen, err := l.wait(ctx, f.Place, f.ID)
	switch {
	case err == nil:
		return &Held[I]{seen, record}, nil
	case errors.Is(err, errFailed):
		l.Say("%v: it is removed, and made anew", err)
		return nil, record.Remove(ctx, func(ctx context.Context) error { return l.Images.Delete(ctx, seen) })
	case errors.Is(err, wait.ErrGone):
		l.Say("%v: it is made anew", err)
		return nil, record.Forget()
	}
	return nil, err
}

// Retain removes images of the artifact that are not kept: older ones, in all places, and
// those in places that the definition does not name any more. It marks that. Where it
// fails the mark is missing, so that the next build tries again. Where all are kept, it
// says which images stay in such places.
func (l *Life[I]) Retain(ctx context.Context, images map[string]I) error {
	var mu sync.Mutex
	left := map[string]bool{} // places that earlier definitions have named
	err := l.each(ctx, func(ctx context.Context, place string) error {
		list, err := l.own(ctx, place)
		if err != nil {
			return err
		}
		mu.Lock()
		for _, i := range list {
			for _, p := range formerPlaces(i.Facts().Marks, l.Places) {
				left[p] = true
			}
		}
		mu.Unlock()
		if old := Older(list, l.Identity, l.Keep); len(old) > 0 {
			return l.Retainer.Retire(ctx, place, old, fmt.Sprintf("older than the %d that are kept", l.Keep))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, place := range slices.Sorted(maps.Keys(left)) {
		if err := l.leave(ctx, place); err != nil {
			return err
		}
	}
	if l.Keep == 0 {
		return nil
	}
	return l.each(ctx, func(ctx context.Context, place string) error {
		return l.Images.Mark(ctx, images[place], map[string]string{Retained: l.Key})
	})
}

// own returns the project's images of the artifact in a place.
func (l *Life[I]) own(ctx context.Context, place string) ([]I, error) {
	project := l.Ledger.Project()
	list, err := l.Images.Find(ctx, place, Query{Artifact: l.Artifact, Project: project})
	return slices.DeleteFunc(list, func(i I) bool { return i.Facts().Marks[Project] != project }), err
}

// leave removes the artifact's images in a place that the definition does not name any
// more, or says that they stay. A place that cannot be looked at does not keep the image
// from the others.
func (l *Life[I]) leave(ctx context.Context, place string) error {
	list, err := l.own(ctx, place)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	} else if err != nil {
		l.Say("%s: the definition does not name it any more, and what is there of %s stays: %v", l.Prefix+place, l.Artifact, err)
		return nil
	}
	list = slices.DeleteFunc(list, func(i I) bool { return i.Facts().Marks[Ready] == "" }) // which are in work
	if len(list) == 0 {
		return nil
	}
	if l.Keep > 0 {
		return l.Retainer.Retire(ctx, place, list, "in a place that the definition does not name any more")
	}
	for _, i := range list {
		f := i.Facts()
		l.Say("%s: the definition does not name it any more, and %s (%s) stays there: with the option keep, it would be removed", l.Prefix+place, f.Name, f.ID)
	}
	return nil
}

// Older returns those finished images that are older than the newest ones that are kept.
// The current one counts as the newest, whatever the cloud's clock says.
// None is older where keep is zero.
func Older[I Image](images []I, identity string, keep int) []I {
	if keep == 0 {
		return nil
	}
	others := slices.DeleteFunc(images, func(i I) bool {
		marks := i.Facts().Marks
		return marks[Ready] == "" || marks[Identity] == identity
	})
	slices.SortStableFunc(others, func(a, b I) int { return b.Facts().Created.Compare(a.Facts().Created) })
	return others[min(len(others), keep-1):]
}
