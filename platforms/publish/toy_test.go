package publish_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/publish"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/wait"
)

// A toyImage is an image of the toy cloud.
type toyImage struct {
	id, name, place string
	state           publish.State
	made            time.Time
	marks           map[string]string
	shared          []string
	inUse           bool
}

func (i *toyImage) Facts() publish.Facts {
	return publish.Facts{ID: i.id, Name: i.name, Place: i.place, State: i.state, Created: i.made, Marks: maps.Clone(i.marks), Why: "the toy broke"}
}

// Faults of a request.
var (
	errRefused = errors.New("refused")
	errLost    = errors.New("connection reset") // after the request was carried out
)

// A toyServer is the far end: what is there, whoever has made it.
type toyServer struct {
	mu     sync.Mutex
	images []*toyImage
	n      int
	ops    []string
	fault  func(op string, n int) error // n counts the requests of an operation from 1
}

// request carries do out unless the request is to fail.
func (s *toyServer) request(ctx context.Context, op string, do func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.ops = append(s.ops, op)
	var err error
	if s.fault != nil {
		n := 0
		for _, o := range s.ops {
			if o == op {
				n++
			}
		}
		err = s.fault(op, n)
	}
	if err == nil || errors.Is(err, errLost) {
		do()
	}
	return err
}

func (s *toyServer) add(place, name string, marks map[string]string) *toyImage {
	s.n++
	i := &toyImage{id: fmt.Sprintf("img-%d", s.n), name: name, place: place, state: publish.Available, made: time.Unix(int64(s.n), 0), marks: maps.Clone(marks)}
	s.images = append(s.images, i)
	return i
}

func (s *toyServer) names() (list []string) {
	for _, i := range s.images {
		list = append(list, i.place+"/"+i.name)
	}
	slices.Sort(list)
	return list
}

// A toyCloud is a driver's publication: this and its options are all that differs from
// another cloud's.
type toyCloud struct {
	s      *toyServer
	ledger *toyLedger
	life   *publish.Life[*toyImage]
	share  []string // the option share_with
	denied string   // a place that nobody may look at
	said   []string
}

var (
	_ publish.Images[*toyImage]   = (*toyCloud)(nil)
	_ publish.Retainer[*toyImage] = (*toyCloud)(nil)
)

func newToy(s *toyServer, l *toyLedger, content string, keep int) *toyCloud {
	c := &toyCloud{s: s, ledger: l}
	c.life = &publish.Life[*toyImage]{
		Images: c, Retainer: c, Places: []string{"here", "there"}, AtOnce: 4,
		Name: "web-" + content, Artifact: "web", Identity: content, Key: fmt.Sprint("key of ", content, keep), Keep: keep, Ledger: l,
		Record: func(_ context.Context, i *toyImage) (*resource.Record, error) { return c.begin(i.place, i.name) },
		Loop: func(what string) wait.Loop {
			return wait.Loop{What: what, Timeout: time.Hour, Backoff: wait.Backoff{Next: time.Second}, Unseen: 3}
		},
		Say: func(format string, args ...any) { c.said = append(c.said, fmt.Sprintf(format, args...)) },
	}
	return c
}

func (c *toyCloud) begin(place, name string) (*resource.Record, error) {
	m := &resource.Manager{Platform: "toy", Ledger: c.ledger, Kinds: []resource.Kind{{Name: "image", Remove: c.Collect}}}
	return m.Begin(context.Background(), "image", place, name)
}

// ask records an image and sends the request that makes it.
func (c *toyCloud) ask(ctx context.Context, op, place string) (id string, record *resource.Record, err error) {
	if record, err = c.begin(place, c.life.Name); err != nil {
		return "", nil, err
	}
	taken := false
	err = c.s.request(ctx, op, func() {
		taken = slices.ContainsFunc(c.s.images, func(i *toyImage) bool { return i.place == place && i.name == c.life.Name })
		if !taken {
			id = c.s.add(place, c.life.Name, c.life.Marks()).id
		}
	})
	switch {
	case errors.Is(err, errLost):
		err = resource.Unclear(err)
	case taken:
		err = publish.ErrTaken
	}
	return id, record, err
}

// Publish and Published are the driver's.
func (c *toyCloud) Publish(ctx context.Context) ([]platforms.Registered, error) {
	images, found, err := c.life.Publish(ctx, func(ctx context.Context) (*publish.Held[*toyImage], error) {
		id, record, err := c.ask(ctx, "create", "here")
		return c.life.Created(ctx, "here", id, record, err)
	})
	if err != nil {
		return nil, err
	}
	return found, c.life.Retain(ctx, images)
}

func (c *toyCloud) Copy(ctx context.Context, _ *toyImage, place string) (string, *resource.Record, error) {
	return c.ask(ctx, "copy", place)
}

func (c *toyCloud) Find(ctx context.Context, place string, q publish.Query) (list []*toyImage, err error) {
	if place == c.denied {
		return nil, errRefused
	}
	err = c.s.request(ctx, "find", func() {
		for _, i := range c.s.images {
			if i.place == place && cmp.Or(q.ID, i.id) == i.id && cmp.Or(q.Name, i.name) == i.name &&
				cmp.Or(q.Artifact, i.marks[publish.Artifact]) == i.marks[publish.Artifact] && cmp.Or(q.Project, i.marks[publish.Project]) == i.marks[publish.Project] {
				seen := *i
				seen.marks = maps.Clone(i.marks)
				list = append(list, &seen)
			}
		}
	})
	return list, err
}

// at calls do with the server's own image.
func (c *toyCloud) at(ctx context.Context, op string, i *toyImage, do func(*toyImage)) error {
	return c.s.request(ctx, op, func() {
		for _, own := range c.s.images {
			if own.id == i.id {
				do(own)
			}
		}
	})
}

func (c *toyCloud) Change(ctx context.Context, i *toyImage) error {
	return c.at(ctx, "change", i, func(i *toyImage) {
		i.shared = c.share
		maps.Copy(i.marks, c.life.SettingsMarks(256, i.marks))
	})
}

func (c *toyCloud) Mark(ctx context.Context, i *toyImage, marks map[string]string) error {
	return c.at(ctx, "mark", i, func(i *toyImage) { maps.Copy(i.marks, marks) })
}

func (c *toyCloud) Delete(ctx context.Context, i *toyImage) error {
	return c.s.request(ctx, "delete", func() {
		c.s.images = slices.DeleteFunc(c.s.images, func(o *toyImage) bool { return o.id == i.id })
	})
}

func (c *toyCloud) Retire(ctx context.Context, place string, old []*toyImage, _ string) error {
	for _, i := range old {
		if i.inUse {
			c.life.Say("%s: %s is in use", place, i.id)
		} else if err := c.Delete(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// Collect is what gc does with a record of a dead build.
func (c *toyCloud) Collect(ctx context.Context, r platforms.Resource) (got platforms.Collected, err error) {
	list, err := c.Find(ctx, r.Place, publish.Query{Name: r.ID})
	if err != nil || len(list) == 0 {
		return got, err
	}
	if why := list[0].Facts().Kept(r.Build); why != "" {
		return platforms.Collected{Kept: why}, nil
	}
	return platforms.Collected{Removed: true}, c.Delete(ctx, list[0])
}

// A toyLedger is a ledger in memory, which outlives its build.
type toyLedger struct {
	build   string
	mu      sync.Mutex
	n       int
	records map[int]platforms.Resource
}

func (l *toyLedger) Build() string   { return l.build }
func (l *toyLedger) Project() string { return "acme" }

func (l *toyLedger) Begin(r platforms.Resource) (func() error, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.records == nil {
		l.records = map[int]platforms.Resource{}
	}
	l.n++
	n := l.n
	l.records[n] = r
	return func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.records, n)
		return nil
	}, nil
}
