package vsphere

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/vmware/govmomi/vapi/library"
	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vapi/vcenter"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/internal/spell"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/wait"
)

// Content libraries have an API of their own, over REST, with a session of its own.
type libraries struct {
	*library.Manager
	deploys *vcenter.Manager
}

// withLibraries calls use with a session of the REST API, which ends with it.
func (d *driver) withLibraries(ctx context.Context, use func(l *libraries) error) (err error) {
	c, err := d.vim(ctx)
	if err != nil {
		return err
	}
	if !c.IsVC() {
		return errors.New("an ESXi host has no content libraries: want a vCenter")
	}
	rc := rest.NewClient(c)
	if err := d.connection.login.rest(ctx, rc); err != nil {
		return fmt.Errorf("log in to the content libraries of %s: %w", c.URL().Host, err)
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), logoutTimeout)
		defer cancel()
		_ = rc.Logout(end) // a session that cannot be ended ends by itself within minutes
	}()
	return use(&libraries{library.NewManager(rc), vcenter.NewManager(rc)})
}

// lostREST marks the failure of a request that may have been carried out all the same.
func lostREST(err error) error {
	if err == nil || rest.IsStatusError(err, http.StatusBadRequest) || rest.IsStatusError(err, http.StatusForbidden) ||
		rest.IsStatusError(err, http.StatusNotFound) || rest.IsStatusError(err, http.StatusUnauthorized) {
		return err
	}
	return resource.Unclear(err)
}

// library returns the content library of a name.
func (l *libraries) library(ctx context.Context, option, name string) (*library.Library, error) {
	all, err := l.GetLibraries(ctx)
	if err != nil {
		return nil, fmt.Errorf("list content libraries: %w", err)
	}
	var found []library.Library
	var names []string
	for _, lib := range all {
		names = append(names, lib.Name)
		if lib.Name == name || lib.ID == name {
			found = append(found, lib)
		}
	}
	switch len(found) {
	case 1:
		return &found[0], nil
	case 0:
		return nil, &platforms.OptionError{Err: fmt.Errorf("%s: there is no content library %q%s", option, name, spell.Hint(name, "there are", names))}
	}
	return nil, &platforms.OptionError{Err: fmt.Errorf("%s: %q is the name of several content libraries: give the id of one", option, name)}
}

// item returns the item of a name in a library. One that is not there is wait.ErrNotFound.
func (l *libraries) item(ctx context.Context, lib *library.Library, name string) (*library.Item, []string, error) {
	all, err := l.GetLibraryItems(ctx, lib.ID)
	if err != nil {
		return nil, nil, fmt.Errorf("list the items of %s: %w", lib.Name, err)
	}
	var names []string
	for _, i := range all {
		if i.Name == name {
			return &i, nil, nil
		}
		names = append(names, i.Name)
	}
	return nil, names, fmt.Errorf("item %q of %s: %w", name, lib.Name, wait.ErrNotFound)
}

// itemVersion is what changes with the content of an item.
func itemVersion(i *library.Item) string {
	if i.ContentVersion != "" {
		return i.ContentVersion
	}
	return i.Version
}

// splitItem reads the option library_item of an origin.
func splitItem(text string) (lib, name string, err error) {
	lib, name, ok := strings.Cut(text, "/")
	if !ok || lib == "" || name == "" {
		return "", "", fmt.Errorf("library_item: %q: want the names of a library and of its item, such as \"images/debian-12\"", text)
	}
	return lib, name, nil
}

// pinItem pins an item of a content library: by its id and the version of its content.
func (d *driver) pinItem(ctx context.Context, text string) (pin *platforms.Pin, err error) {
	libName, name, err := splitItem(text)
	if err != nil {
		return nil, &platforms.OptionError{Err: err}
	}
	err = d.withLibraries(ctx, func(l *libraries) error {
		lib, err := l.library(ctx, "library_item", libName)
		if err != nil {
			return err
		}
		i, names, err := l.item(ctx, lib, name)
		if err != nil {
			if names != nil || errors.Is(err, wait.ErrNotFound) {
				err = &platforms.OptionError{Err: fmt.Errorf("library_item: %s has no item %q%s", lib.Name, name, spell.Hint(name, "there are", names))}
			}
			return err
		}
		if i.Type != library.ItemTypeOVF && i.Type != library.ItemTypeVMTX {
			return &platforms.OptionError{Err: fmt.Errorf("library_item: %s is of the type %q, and machines are made of %s and %s", text, i.Type, library.ItemTypeOVF, library.ItemTypeVMTX)}
		}
		pin = &platforms.Pin{ID: i.ID + "@" + itemVersion(i), Detail: map[string]string{detailName: text}}
		return nil
	})
	return pin, err
}

// ofItem returns what makes a machine of an item that is pinned.
func (d *driver) ofItem(o platforms.Origin, or Origin, out platforms.Logger) (maker, error) {
	if o.Pin == nil {
		return nil, errors.New("the origin has no pin")
	}
	id, version, _ := strings.Cut(o.Pin.ID, "@")
	return func(ctx context.Context, b *birth) (ref types.ManagedObjectReference, err error) {
		t, err := d.target(ctx)
		if err != nil {
			return ref, err
		}
		err = d.withLibraries(ctx, func(l *libraries) error {
			i, err := l.GetLibraryItem(ctx, id)
			switch {
			case rest.IsStatusError(err, http.StatusNotFound):
				return fmt.Errorf("%s: %w any more: bake update finds another one", or.LibraryItem, wait.ErrNotFound)
			case err != nil:
				return fmt.Errorf("look for %s: %w", or.LibraryItem, err)
			case itemVersion(i) != version:
				return fmt.Errorf("%s has changed since it was pinned: bake update takes it as it is now", or.LibraryItem)
			}
			out.Progress("deploy "+or.LibraryItem, 0, 0)
			if ref, err = l.deploy(ctx, i, t, b); err != nil {
				return fmt.Errorf("deploy %s: %w", or.LibraryItem, lostREST(err))
			}
			return nil
		})
		if err != nil {
			return ref, err
		}
		return ref, resource.Unclear(d.adopt(ctx, ref, b))
	}, nil
}

// deploy makes a machine of an item.
func (l *libraries) deploy(ctx context.Context, i *library.Item, t *target, b *birth) (types.ManagedObjectReference, error) {
	host := ""
	if t.host != nil {
		host = t.host.Value
	}
	var ref *types.ManagedObjectReference
	var err error
	if i.Type == library.ItemTypeVMTX {
		storage := &vcenter.DiskStorage{Datastore: t.datastore.Value}
		ref, err = l.deploys.DeployTemplateLibraryItem(ctx, i.ID, vcenter.DeployTemplate{
			Name: b.name, DiskStorage: storage, VMHomeStorage: storage,
			Placement: &vcenter.Placement{ResourcePool: t.pool.Value, Host: host, Folder: b.folder.Value},
		})
	} else {
		at := vcenter.Target{ResourcePoolID: t.pool.Value, HostID: host, FolderID: b.folder.Value}
		spec := vcenter.DeploymentSpec{Name: b.name, DefaultDatastoreID: t.datastore.Value, StorageProvisioning: "thin", AcceptAllEULA: true}
		filtered, filterErr := l.deploys.FilterLibraryItem(ctx, i.ID, vcenter.FilterRequest{Target: at})
		if filterErr != nil {
			return types.ManagedObjectReference{}, filterErr
		}
		for _, network := range filtered.Networks {
			spec.NetworkMappings = append(spec.NetworkMappings, vcenter.NetworkMapping{Key: network, Value: t.network.ref.Value})
		}
		ref, err = l.deploys.DeployLibraryItem(ctx, i.ID, vcenter.Deploy{DeploymentSpec: spec, Target: at})
	}
	if err != nil {
		return types.ManagedObjectReference{}, err
	}
	return *ref, nil
}

// adopt gives a machine that something else has made the marks of one of bake's own.
func (d *driver) adopt(ctx context.Context, ref types.ManagedObjectReference, b *birth) error {
	v, err := d.vm(ctx, ref)
	if err != nil {
		return err
	}
	if err := d.mark(ctx, v, d.ownMarks(&v, b.token)); err != nil || !v.template {
		return err
	}
	return d.unmark(ctx, v)
}
