package vsphere

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vapi/library"
	"github.com/vmware/govmomi/vapi/vcenter"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/internal/vmdk"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/wait"
)

// begin returns the item with the marks of one that is begun.
func (j *itemJob) begin(ctx context.Context, old *library.Item, m itemMarks) (*library.Item, error) {
	if old != nil {
		return old, j.mark(ctx, old, m)
	}
	text, err := describeItem(j.o.Description, m)
	if err != nil {
		return nil, err
	}
	id, err := j.CreateLibraryItem(ctx, library.Item{Name: j.name, LibraryID: j.lib.ID, Type: library.ItemTypeOVF, Description: &text})
	if err != nil {
		return nil, fmt.Errorf("make the item: %w", err)
	}
	return j.GetLibraryItem(ctx, id)
}

// upload makes the item's content of a disk, which no machine has: a descriptor, and the
// disk, which is compressed while it goes.
func (j *itemJob) upload(ctx context.Context, old *library.Item, m itemMarks, disk string) (_ *library.Item, err error) {
	size, err := sizeOf(disk)
	if err != nil {
		return nil, err
	}
	o := j.o.uploaded(j.p.Boot == "uefi")
	text, err := describe(j.name, o, size)
	if err != nil {
		return nil, &platforms.OptionError{Err: fmt.Errorf("hardware: %w", err)}
	}
	i, err := j.begin(ctx, old, m)
	if err != nil {
		return nil, err
	}
	session, err := j.CreateLibraryItemUpdateSession(ctx, library.Session{LibraryItemID: i.ID})
	if err != nil {
		return nil, fmt.Errorf("begin a new version: %w", err)
	}
	defer func() {
		if err != nil {
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
			defer cancel()
			_ = j.CancelLibraryItemUpdateSession(end, session) // one that cannot be is removed by its record
		}
	}()
	id := j.diskIdentity()
	files := []sessionFile{
		{descriptorFile, int64(len(text)), func(_ context.Context, w io.Writer) error { _, err := io.WriteString(w, text); return err }},
		{diskFile, -1, func(ctx context.Context, w io.Writer) error {
			return vmdk.WriteStream(ctx, w, diskFile, disk, size, id, func(n int64) { j.out.Progress("upload", n, size) })
		}},
	}
	if err := j.removeOthers(ctx, i, session, files); err != nil {
		return nil, err
	}
	for _, f := range files {
		if err := j.add(ctx, session, f); err != nil {
			return nil, err
		}
	}
	if err := j.complete(ctx, session); err != nil {
		return nil, err
	}
	return j.GetLibraryItem(ctx, i.ID)
}

// descriptorFile is the name of the descriptor of an item.
const descriptorFile = "image.ovf"

// A sessionFile is one that a session uploads.
type sessionFile struct {
	name  string
	size  int64 // less than 0 where nobody knows
	write func(ctx context.Context, w io.Writer) error
}

// removeOthers takes out of an item what its new version has not.
func (j *itemJob) removeOthers(ctx context.Context, i *library.Item, session string, files []sessionFile) error {
	have, err := j.ListLibraryItemFiles(ctx, i.ID)
	if err != nil {
		return fmt.Errorf("list the item's files: %w", err)
	}
	for _, f := range have {
		if slices.ContainsFunc(files, func(s sessionFile) bool { return s.name == f.Name }) {
			continue
		}
		if err := j.RemoveLibraryItemUpdateSessionFile(ctx, session, f.Name); err != nil {
			return fmt.Errorf("remove %s: %w", f.Name, err)
		}
	}
	return nil
}

// sessionHeader is the header of the REST API's session.
const sessionHeader = "vmware-api-session-id"

// keepEvery is how often a session is told that it is in use.
const keepEvery = time.Minute

// add uploads a file, from its beginning again where the network fails.
func (j *itemJob) add(ctx context.Context, session string, f sessionFile) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		for wait.Pause(ctx, keepEvery) == nil {
			_ = j.KeepAliveLibraryItemUpdateSession(ctx, session) // one that has ended refuses what comes next
		}
	}()
	return j.d.transferTries(ctx, "upload "+f.name, j.out, func(ctx context.Context) error {
		made, err := j.AddLibraryItemFile(ctx, session, library.UpdateFile{Name: f.name, SourceType: "PUSH", Size: max(0, f.size)})
		if err != nil {
			return err
		}
		if made.UploadEndpoint == nil {
			return &sourceError{errors.New("the server names no address for it")}
		}
		c, err := j.d.vim(ctx)
		if err != nil {
			return err
		}
		u, err := c.ParseURL(made.UploadEndpoint.URI)
		if err != nil {
			return &sourceError{err}
		}
		if t := made.UploadEndpoint.SSLCertificateThumbprint; t != "" { // of the server that takes it, which vCenter vouches for
			c.SetThumbprint(u.Host, t)
		}
		header := http.Header{"Content-Type": {"application/octet-stream"}}
		if u.Host == c.URL().Host { // and nobody else is told the session
			header.Set(sessionHeader, j.Manager.SessionID())
		}
		return j.d.send(ctx, request{method: http.MethodPut, to: u, size: f.size, header: header}, f.write)
	})
}

// complete makes what a session has uploaded the item's content.
func (j *itemJob) complete(ctx context.Context, session string) error {
	checked, err := j.ValidateLibraryItemUpdateSessionFile(ctx, session)
	switch {
	case err != nil:
		return fmt.Errorf("check the new version: %w", err)
	case len(checked.InvalidFiles) > 0:
		return fmt.Errorf("the library refuses %s: %w", checked.InvalidFiles[0].Name, &checked.InvalidFiles[0].ErrorMessage)
	case len(checked.MissingFiles) > 0:
		return fmt.Errorf("the library misses %s", strings.Join(checked.MissingFiles, ", "))
	}
	if err := j.CompleteLibraryItemUpdateSession(ctx, session); err != nil {
		return fmt.Errorf("complete the new version: %w", err)
	}
	loop := wait.Loop{What: "the library's new version", Timeout: imageTimeout, Backoff: wait.Backoff{Next: j.d.pause, Most: 8 * j.d.pause}}
	err = loop.Until(ctx, func(ctx context.Context) (bool, error) {
		s, err := j.GetLibraryItemUpdateSession(ctx, session)
		if err != nil {
			return false, err
		}
		if s.State == "ERROR" && s.ErrorMessage != nil {
			return false, s.ErrorMessage
		}
		return s.State == "DONE", nil
	})
	if err != nil {
		return err
	}
	return j.DeleteLibraryItemUpdateSession(ctx, session)
}

// capture makes the item's content of a virtual machine, which goes afterwards: a whole
// clone of a layer, or one with the disk.
func (j *itemJob) capture(ctx context.Context, old *library.Item, m itemMarks, from platforms.ImageSource) (_ *library.Item, err error) {
	b, ref, record, err := j.d.bear(ctx, func(ctx context.Context, b *birth) (types.ManagedObjectReference, error) {
		if from.Layer == "" {
			return j.d.importRaw(j.p.Boot == "uefi")(ctx, from.Disk, b, j.d.ownMarks(&vm{}, b.token), nil, j.out)
		}
		return j.cloneFor(ctx, from.Layer, b)
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		err = errors.Join(err, record.Remove(end, func(ctx context.Context) error { return j.d.destroy(ctx, vm{ref: ref, name: b.name}) }))
	}()
	text, err := describeItem(j.o.Description, m)
	if err != nil {
		return nil, err
	}
	j.out.Progress("copy to the library", 0, 0)
	if j.o.itemType() == libraryVM {
		return j.captureTemplate(ctx, old, ref, text)
	}
	to := vcenter.LibraryTarget{LibraryID: j.lib.ID}
	if old != nil {
		if err := j.mark(ctx, old, m); err != nil {
			return nil, err
		}
		to = vcenter.LibraryTarget{LibraryItemID: old.ID}
	}
	id, err := j.deploys.CreateOVF(ctx, vcenter.OVF{
		Spec: vcenter.CreateSpec{Name: j.name, Description: text}, Source: vcenter.ResourceID{Type: typeVM, Value: ref.Value}, Target: to,
	})
	if err != nil {
		return nil, fmt.Errorf("copy to the library: %w", err)
	}
	return j.GetLibraryItem(ctx, id)
}

// captureTemplate makes a VM template. A library has no way to replace the machine of one
// that is there, so another item takes its place and its name.
func (j *itemJob) captureTemplate(ctx context.Context, old *library.Item, ref types.ManagedObjectReference, text string) (*library.Item, error) {
	t, err := j.d.target(ctx)
	if err != nil {
		return nil, err
	}
	folder, err := j.folder(ctx, true)
	if err != nil {
		return nil, err
	}
	name := j.name
	if old != nil {
		name = uploadName(newToken())
	}
	storage := &vcenter.DiskStorage{Datastore: t.datastore.Value}
	place := &vcenter.Placement{ResourcePool: t.pool.Value, Folder: folder.Value}
	if t.host != nil {
		place.Host = t.host.Value
	}
	id, err := j.deploys.CreateTemplate(ctx, vcenter.Template{
		Name: name, Description: text, Library: j.lib.ID, SourceVM: ref.Value, DiskStorage: storage, VMHomeStorage: storage, Placement: place,
	})
	if err != nil {
		return nil, fmt.Errorf("copy to the library: %w", err)
	}
	if old != nil {
		if err := j.DeleteLibraryItem(ctx, old); err != nil {
			return nil, fmt.Errorf("remove the older item: %w", err)
		}
	}
	return j.GetLibraryItem(ctx, id)
}

// cloneFor clones a layer, without what was there for the build.
func (j *itemJob) cloneFor(ctx context.Context, layer string, b *birth) (ref types.ManagedObjectReference, err error) {
	from, err := j.d.base(ctx, layer)
	if err != nil {
		return ref, err
	}
	p, err := j.d.place(ctx)
	if err != nil {
		return ref, err
	}
	c, err := j.d.vim(ctx)
	if err != nil {
		return ref, err
	}
	spec, err := j.wholeClone(from, p, j.d.ownMarks(&from.vm, b.token))
	if err != nil {
		return ref, err
	}
	result, err := j.d.do(ctx, "clone "+from.name, j.out, func(ctx context.Context) (*object.Task, error) {
		return object.NewVirtualMachine(c, from.ref).Clone(ctx, object.NewFolder(c, b.folder), b.name, *spec)
	})
	if err != nil {
		return ref, err
	}
	ref, ok := result.(types.ManagedObjectReference)
	if !ok {
		return ref, resource.Unclear(fmt.Errorf("clone %s: the task's result is no virtual machine", from.name))
	}
	return ref, nil
}
