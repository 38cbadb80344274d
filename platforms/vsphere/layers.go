package vsphere

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/remote"
	"bake.build/bake/platforms/wait"
)

// keysAtOnce is how many layers are looked for at once: all of them are in one folder.
const keysAtOnce = 1 << 20

// about is what the description of a layer's snapshot says of it, as JSON.
type about struct {
	Step    string `json:"step"`
	Project string `json:"project,omitempty"`
	Depth   int    `json:"depth"` // disks on which its disk lies
}

func aboutOf(s snapshot) (a about) {
	_ = json.Unmarshal([]byte(s.about), &a) // what others have written there says nothing
	return a
}

// layerOf is the layer that a snapshot is.
func layerOf(v *vm, s snapshot) remote.Layer {
	l := remote.Layer{
		Layer: platforms.Layer{Key: s.name, Ref: v.uuid + "/" + s.ref.Value, Traits: v.traits()},
		Name:  aboutOf(s).Step, Made: s.made, Size: v.size / int64(max(1, len(v.snapshots))),
	}
	l.Used, _ = time.Parse(remote.Time, v.marks[usedMark(s.name)]) // none is as long ago as it was made
	return l
}

// usedMark is the mark of when a layer was last used: names in the extra configuration are
// short.
func usedMark(key string) string { return markUsed + key[:min(len(key), 16)] }

// isLayer reports whether a snapshot is a layer, and not one that a user has made.
func isLayer(v *vm, s snapshot) bool { return v.marks[markToken] != "" && aboutOf(s).Depth > 0 }

// layers are those in bake's own folder.
type layers struct{ d *driver }

var _ remote.Layers = layers{}

// own returns the virtual machines in bake's own folder.
func (d *driver) own(ctx context.Context) ([]vm, error) {
	s, err := d.site(ctx)
	if err != nil || s.folder.Value == "" {
		return nil, err
	}
	return d.vms(ctx, s.folder)
}

// Find implements remote.Layers.
func (l layers) Find(ctx context.Context, _ string, keys []string) (list []remote.Layer, err error) {
	all, err := l.d.own(ctx)
	if err != nil {
		return nil, err
	}
	for _, v := range all {
		for _, s := range v.snapshots {
			if isLayer(&v, s) && slices.Contains(keys, s.name) {
				list = append(list, layerOf(&v, s))
			}
		}
	}
	return list, nil
}

// Unused implements remote.Layers. Layers on which others lie come after these, so that
// all of a chain can go.
func (l layers) Unused(ctx context.Context, _, project string) (list []remote.Layer, err error) {
	all, err := l.d.own(ctx)
	if err != nil {
		return nil, err
	}
	for _, v := range all {
		for _, s := range slices.Backward(v.snapshots) {
			if isLayer(&v, s) && (project == "" || aboutOf(s).Project == project) {
				list = append(list, layerOf(&v, s))
			}
		}
	}
	// What is cloned from another one has to go first.
	depth := func(l remote.Layer) int { return chainDepth(all, l.Ref) }
	slices.SortStableFunc(list, func(a, b remote.Layer) int { return depth(b) - depth(a) })
	return list, nil
}

// chainDepth returns of how many linked clones, one of another, the machine of a layer is
// the last one.
func chainDepth(all []vm, ref string) (n int) {
	for range all {
		uuid, _, _ := strings.Cut(ref, "/")
		i := slices.IndexFunc(all, func(v vm) bool { return v.uuid == uuid })
		if i < 0 || all[i].marks[markBase] == "" {
			return n
		}
		n, ref = n+1, all[i].marks[markBase]
	}
	return n
}

// Delete implements remote.Layers. A layer that others lie on stays; with the last layer
// of a machine goes the machine.
func (l layers) Delete(ctx context.Context, layer remote.Layer) error {
	uuid, value, _ := strings.Cut(layer.Ref, "/")
	all, err := l.d.own(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(v vm) bool { return v.uuid == uuid })
	if i < 0 {
		return nil
	}
	v := all[i]
	s, ok := v.snapshot(value)
	if !ok {
		return nil
	}
	for _, other := range all {
		if other.marks[markBase] == layer.Ref {
			return fmt.Errorf("%w: %s is a linked clone of %s", remote.ErrInUse, other.name, s.name)
		}
	}
	switch {
	case s.children > 0:
		return fmt.Errorf("%w: other snapshots of %s lie on %s", remote.ErrInUse, v.name, s.name)
	case v.on:
		return fmt.Errorf("%w: a build uses %s", remote.ErrInUse, v.name)
	case len(v.snapshots) == 1:
		return l.d.destroy(ctx, v)
	}
	return l.d.removeSnapshot(ctx, v, s)
}

// removeSnapshot removes a snapshot that nothing lies on.
func (d *driver) removeSnapshot(ctx context.Context, v vm, s snapshot) error {
	c, err := d.vim(ctx)
	if err != nil {
		return err
	}
	consolidate := true
	_, err = d.do(ctx, "remove a snapshot of "+v.name, nil, func(ctx context.Context) (*object.Task, error) {
		res, err := methods.RemoveSnapshot_Task(ctx, c, &types.RemoveSnapshot_Task{This: s.ref, Consolidate: &consolidate})
		if err != nil {
			return nil, err
		}
		return object.NewTask(c, res.Returnval), nil
	})
	if is[*types.ManagedObjectNotFound](err) {
		return nil
	}
	return err
}

// Touch implements remote.Layers. A machine that another task is busy with is not worth
// waiting for: its time is noted by the next build.
func (l layers) Touch(ctx context.Context, layer remote.Layer, at time.Time) error {
	uuid, _, _ := strings.Cut(layer.Ref, "/")
	v, err := l.d.instance(ctx, uuid)
	if errors.Is(err, wait.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	err = l.d.mark(ctx, v, map[string]string{usedMark(layer.Key): at.UTC().Format(remote.Time)})
	if is[*types.TaskInProgress](err) || is[*types.ConcurrentAccess](err) {
		return nil
	}
	return err
}
