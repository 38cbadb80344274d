package solve

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

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
	d, _, err := r.driver(n)
	if err != nil {
		return err
	}
	c := &chain{r: r}
	defer c.drop()
	op := n.Op.(plan.Check)
	var open func() error
	if isLayer(n.Deps[0]) {
		open = func() error { return c.open(t, d, n.Deps[0]) }
	} else {
		open = func() error { return c.launch(t, d) }
	}
	err = t.tries(c, open, func(ctx context.Context) error {
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
	d, _, err := r.driver(layer)
	if err != nil {
		return err
	}
	job := Job{Node: n, Key: t.u.id.key, Driver: d, Used: r.used(t.u), Out: t.out, Secrets: r.secrets.get}
	write := func(ctx context.Context) error {
		files, err := r.c.Exports.Export(ctx, job)
		r.mu.Lock()
		t.u.files = files
		r.mu.Unlock()
		return err
	}
	if !fromMachine(n) {
		return t.tries(nil, func() (err error) {
			if job.Chain, err = r.chainOf(layer); err == nil {
				job.Traits, err = r.complete(layer, job.Chain[len(job.Chain)-1].Traits)
			}
			return err
		}, write)
	}
	c := &chain{r: r}
	defer c.drop()
	return t.tries(c, func() error {
		err := c.open(t, d, layer)
		if job.Machine = c.m; err != nil {
			return err
		}
		l, err := r.layer(layer)
		if err == nil {
			job.Traits, err = r.complete(layer, l.Traits)
		}
		return err
	}, write)
}

// used returns what u is made with.
func (r *run) used(u *unit) []Used {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []Used
	for _, n := range u.node().Uses {
		d := r.sched.nodes[n]
		used := Used{d.Key, d.Files}
		if made := r.units[d.Key]; made != nil {
			used.Files = made.files
		}
		list = append(list, used)
	}
	return list
}

// release lets go of what u was made with where u was the last to use it, and of u
// itself where nothing will use it. It is called once, when u has ended.
func (r *run) release(u *unit) {
	releaser, ok := r.c.Exports.(Releaser)
	if !ok {
		return
	}
	var last []*unit
	r.mu.Lock()
	for _, d := range u.uses {
		d.users--
	}
	for _, d := range append(u.uses[:len(u.uses):len(u.uses)], u) {
		if d.users == 0 && d.state == Done && d.role == roleExport && isIntermediate(d.node()) {
			last = append(last, d)
		}
	}
	r.mu.Unlock()
	for _, d := range last {
		if err := releaser.Release(d.node(), d.id.key); err != nil {
			r.warn(d.node(), "remove %s: %v", d.node().Name, err)
		}
	}
}

// sendFiles tells the files of u's artifact.
// Those of an artifact under test are told when its tests have passed.
func (r *run) sendFiles(u *unit) {
	if r.underTest(u.id.key) != nil || isIntermediate(u.node()) {
		return
	}
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

// launch starts a machine on the artifact that t tests, unless there is one.
func (c *chain) launch(t *task, d platforms.Driver) error {
	if c.m != nil {
		return nil
	}
	n := t.u.node()
	op, ok := n.Op.(plan.Launcher)
	if !ok {
		return fmt.Errorf("%s: cannot act on an artifact", n.Op.Kind())
	}
	launcher, ok := d.(platforms.Launcher)
	if !ok {
		return errors.New("the platform cannot launch an artifact")
	}
	how := op.Launch()
	option := "disk"
	if how.Format != "" {
		option = how.Format
	}
	path, format, err := c.r.artifactFile(link{option, n.Deps[0]})
	if err != nil {
		return err
	}
	// A format of several kinds, such as vmdk-sparse, is one to who reads it.
	format, _, _ = strings.Cut(format, "-")
	i := platforms.Image{Path: path, Format: format, UEFI: how.UEFI, NoLogin: how.NoLogin}
	for _, f := range c.r.artifactFiles(n.Deps[0]) {
		if f.Format == platforms.VariablesFormat {
			if i.Variables, err = filepath.Abs(f.Path); err != nil {
				return err
			}
		}
	}
	if c.r.c.LogDir != "" {
		i.ConsoleLog = filepath.Join(c.r.c.LogDir, t.u.id.key.Short()+".console.log")
		if err := os.MkdirAll(c.r.c.LogDir, 0o700); err != nil {
			return err
		}
		if err := os.Remove(i.ConsoleLog); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	m, err := launcher.Launch(c.r.ctx, i, t.out)
	if err != nil {
		return err
	}
	c.m, c.killed, c.err = m, false, nil
	return nil
}
