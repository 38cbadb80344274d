package vsphere

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/task"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/wait"
)

// do starts a task and waits for its end. Its error says what could not be done, and is
// resource.Unclear where it may have been all the same.
func (d *driver) do(ctx context.Context, what string, out platforms.Logger, start func(ctx context.Context) (*object.Task, error)) (types.AnyType, error) {
	t, err := start(ctx)
	if err != nil {
		return nil, judge(fmt.Errorf("%s: %w", what, explain(err)))
	}
	result, err := d.await(ctx, what, out, t)
	if err == nil {
		return result, nil
	}
	if errors.As(err, new(task.Error)) { // the server's own words
		return nil, explain(err)
	}
	d.cancel(ctx, t)
	return nil, resource.Unclear(explain(err))
}

// await returns the result of a task.
func (d *driver) await(ctx context.Context, what string, out platforms.Logger, t *object.Task) (result types.AnyType, err error) {
	timeout, err := d.options.taskTimeout()
	if err != nil {
		return nil, err
	}
	c, err := d.vim(ctx)
	if err != nil {
		return nil, err
	}
	loop := wait.Loop{What: what, Timeout: timeout, Backoff: wait.Backoff{Next: d.pause / 8, Most: 8 * d.pause}}
	err = loop.Until(ctx, func(ctx context.Context) (bool, error) {
		var now mo.Task
		if err := property.DefaultCollector(c).RetrieveOne(ctx, t.Reference(), []string{"info"}, &now); err != nil {
			return false, err
		}
		switch now.Info.State {
		case types.TaskInfoStateSuccess:
			result = now.Info.Result
			return true, nil
		case types.TaskInfoStateError:
			return false, task.Error{LocalizedMethodFault: now.Info.Error, Description: now.Info.Description}
		}
		if out != nil {
			out.Progress(what, int64(now.Info.Progress), 100)
		}
		return false, nil
	})
	return result, err
}

// cancelTimeout is how long it may take to ask for the end of a task.
const cancelTimeout = 10 * time.Second

// cancel asks for the end of a task that nobody waits for any more. Not all tasks can be
// ended: what it makes is looked for in any case.
func (d *driver) cancel(ctx context.Context, t *object.Task) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
	defer stop()
	_ = t.Cancel(ctx) // see above
}

// explain says in an error what vSphere leaves out of its messages: many faults have
// none, and most do not name the object.
func explain(err error) error {
	if err == nil {
		return nil
	}
	var (
		permission *types.NoPermission
		name       *types.DuplicateName
	)
	if _, ok := fault.As(err, &permission); ok {
		return fmt.Errorf("%w (the user lacks %s)", err, lacking(permission))
	}
	if _, ok := fault.As(err, &name); ok {
		return fmt.Errorf("%w (the name %q is taken)", err, name.Name)
	}
	for _, hint := range []struct {
		is   bool
		text string
	}{
		{is[*types.NoDiskSpace](err) || is[*types.InsufficientStorageSpace](err), "the datastore is full: free some space, name another datastore, or remove layers with bake cache prune --platform vsphere"},
		{is[*types.TooManySnapshotLevels](err), "the machine has as many snapshots as vSphere allows"},
		{short(err), "the cluster or host has no resources left for another machine: lower max_machines, cpus or memory"},
		{is[*types.InvalidState](err), "a host in maintenance, or another task with the same object, does that"},
		{is[*types.NotSupported](err), "this server cannot do that; an ESXi host without vCenter has no clones"},
	} {
		if hint.is {
			return fmt.Errorf("%w (%s%s)", err, kindOf(err), hint.text)
		}
	}
	if kind := kindOf(err); kind != "" {
		return fmt.Errorf("%w (%s)", err, strings.TrimSuffix(kind, ": "))
	}
	return err
}

// lacking names the privileges that a user lacks.
func lacking(p *types.NoPermission) string {
	list := []string{}
	for _, e := range p.MissingPrivileges {
		list = append(list, e.PrivilegeIds...)
	}
	if len(list) == 0 && p.PrivilegeId != "" {
		list = []string{p.PrivilegeId}
	}
	if len(list) == 0 {
		return "a privilege"
	}
	return "the privilege " + strings.Join(list, ", ")
}

// kindOf returns the type of an error's fault, such as "InvalidState: ".
func kindOf(err error) string {
	kind := ""
	fault.In(err, func(f types.BaseMethodFault, _ string, _ []types.LocalizableMessage) bool {
		if t := reflect.TypeOf(f); t != nil {
			for t.Kind() == reflect.Pointer {
				t = t.Elem()
			}
			kind = t.Name() + ": "
		}
		return true
	})
	return kind
}

// short reports whether an error says that there are too few resources of any kind.
func short(err error) bool {
	found := false
	fault.In(err, func(f types.BaseMethodFault, _ string, _ []types.LocalizableMessage) bool {
		_, found = f.(types.BaseInsufficientResourcesFault)
		return found
	})
	return found
}
