package solve

import (
	"context"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/plan"
)

// check runs the test of t in a machine of its own and records that it passed.
func (r *run) check(t *task) error {
	n, key := t.u.node(), t.u.id.key.String()
	if _, err := r.c.Store.GetRecord(passedRecord, key); err == nil {
		t.elsewhere = true // another build has run it meanwhile
		return nil
	}
	t.start()
	layer, err := layerOf(n)
	if err != nil {
		return err
	}
	d, _, err := r.driver(n)
	if err != nil {
		return err
	}
	c := &chain{r: r}
	defer c.drop()
	op := n.Op.(plan.Check)
	err = t.tries(c, func() error {
		return c.open(t, d, layer)
	}, func(ctx context.Context) error {
		return op.Check(ctx, c.m, t.env())
	})
	if err != nil || t.u.id.fresh != nil {
		return err
	}
	return r.c.Store.PutRecord(passedRecord, key, []byte("true"))
}

// export writes the artifact of t.
func (r *run) export(t *task) error {
	t.start()
	n := t.u.node()
	layer, err := layerOf(n)
	if err != nil {
		return err
	}
	d, _, err := r.driver(n)
	if err != nil {
		return err
	}
	var layers []platforms.Layer
	err = t.tries(nil, func() (err error) {
		layers, err = r.layers(layer)
		return err
	}, func(ctx context.Context) (err error) {
		files, err := r.c.Exports.Export(ctx, Job{Node: n, Key: t.u.id.key, Driver: d, Chain: layers, Out: t.out})
		r.mu.Lock()
		t.u.files = files
		r.mu.Unlock()
		return err
	})
	return err
}

// sendFiles tells the files of u's artifact.
func (r *run) sendFiles(u *unit) {
	for _, n := range u.nodes {
		for _, e := range r.artifacts(n, u.files) {
			r.c.Events.Send(e)
		}
	}
}

func (r *run) artifacts(n *plan.Node, files []File) []event.Event {
	var events []event.Event
	for _, f := range files {
		events = append(events, event.Event{Type: event.Artifact, Node: r.node(n), Text: f.Path, Total: f.Size})
	}
	return events
}
