package vsphere

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"strings"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/internal/sparse"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/resource"
)

// mediaFolder is the folder of a datastore in which the CDs of installers are while they
// work. A file is named after its build.
const mediaFolder = "bake-media"

// mediaName is the name of a file of a build.
func mediaName(build, token string) string { return build + "." + token + ".iso" }

// mediaBuild returns the build of a file.
func mediaBuild(name string) (build string, ok bool) {
	rest, ok := strings.CutSuffix(name, ".iso")
	at := strings.LastIndexByte(rest, '.')
	return rest[:max(at, 0)], ok && at > 0
}

// A datastore is one that files are kept on.
type datastore struct {
	*object.Datastore
	datacenter *object.Datacenter
}

// datastore returns the datastore of a name.
func (d *driver) datastore(ctx context.Context, name string) (*datastore, error) {
	s, err := d.site(ctx)
	if err != nil {
		return nil, err
	}
	c, err := d.vim(ctx)
	if err != nil {
		return nil, err
	}
	inv, err := loadInventory(ctx, c, typeDatastore)
	if err != nil {
		return nil, err
	}
	i, err := inv.named("datastore", name, inv.of(s.datacenter.ref, typeDatastore))
	if err != nil {
		return nil, err
	}
	ds := object.NewDatastore(c, i.ref)
	ds.InventoryPath, ds.DatacenterPath = inv.path(i.ref), inv.path(s.datacenter.ref)
	return &datastore{ds, object.NewDatacenter(c, s.datacenter.ref)}, nil
}

// store uploads a file to the target's datastore, and returns its place there. files
// removes it.
func (d *driver) store(ctx context.Context, t *target, local string, files *resource.Stack, out platforms.Logger) (at string, err error) {
	ds, err := d.datastore(ctx, t.datastoreName)
	if err != nil {
		return "", err
	}
	size, err := sizeOf(local)
	if err != nil {
		return "", err
	}
	c, err := d.vim(ctx)
	if err != nil {
		return "", err
	}
	folder := ds.Path(mediaFolder)
	err = object.NewFileManager(c).MakeDirectory(ctx, folder, ds.datacenter, true)
	if err != nil && !is[*types.FileAlreadyExists](err) {
		return "", fmt.Errorf("make the folder %s: %w", folder, explain(err))
	}
	name := path.Join(mediaFolder, mediaName(d.host.Ledger().Build(), newToken()))
	at = ds.Path(name)
	_, record, err := resource.Make(ctx, d.Manager, kindFile, "", at, func(ctx context.Context) (string, error) {
		req := request{method: http.MethodPut, to: ds.NewURL(name), size: size, header: http.Header{"Content-Type": {"application/octet-stream"}}}
		err := d.transferTries(ctx, "upload "+at, out, func(ctx context.Context) error {
			return d.send(ctx, req, func(ctx context.Context, w io.Writer) error {
				return copyFile(ctx, w, local, func(n int64) { out.Progress("upload "+at, n, size) })
			})
		})
		return at, resource.Unclear(err)
	})
	if err != nil {
		return "", err
	}
	files.Push(record, func(ctx context.Context) error { return d.removeFile(ctx, at) })
	return at, nil
}

// copyFile writes a file.
func copyFile(ctx context.Context, w io.Writer, local string, done func(n int64)) (err error) {
	f, err := os.Open(local)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return sparse.CopyAll(ctx, &counting{w: w, done: done}, f)
}

// A counting writer tells how much went through it.
type counting struct {
	w    io.Writer
	n    int64
	done func(n int64)
}

// Write implements io.Writer.
func (c *counting) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	c.done(c.n)
	return n, err
}

// removeFile removes a file on a datastore. One that is not there is no error.
func (d *driver) removeFile(ctx context.Context, at string) error {
	name, _, err := storedName(at)
	if err != nil {
		return err
	}
	ds, err := d.datastore(ctx, name)
	if err != nil {
		return err
	}
	c, err := d.vim(ctx)
	if err != nil {
		return err
	}
	_, err = d.do(ctx, "remove "+at, nil, func(ctx context.Context) (*object.Task, error) {
		return object.NewFileManager(c).DeleteDatastoreFile(ctx, at, ds.datacenter)
	})
	if is[*types.FileNotFound](err) {
		return nil
	}
	return err
}

// collectFile removes a file on a datastore.
func (d *driver) collectFile(ctx context.Context, r platforms.Resource) (got platforms.Collected, err error) {
	return platforms.Collected{Removed: true}, d.removeFile(ctx, r.ID)
}

// taggedFiles returns the files of builds on the datacenter's datastores.
func (d *driver) taggedFiles(ctx context.Context, s site) (found []resource.Found, err error) {
	c, err := d.vim(ctx)
	if err != nil {
		return nil, err
	}
	inv, err := loadInventory(ctx, c, typeDatastore)
	if err != nil {
		return nil, err
	}
	for _, i := range inv.of(s.datacenter.ref, typeDatastore) {
		at := (&object.DatastorePath{Datastore: i.name, Path: mediaFolder}).String()
		list, err := d.browse(ctx, i, at, "*.iso")
		if err != nil {
			return nil, err
		}
		for _, f := range list {
			build, ok := mediaBuild(f.Path)
			if !ok {
				continue
			}
			one := resource.Found{Kind: kindFile, ID: at + "/" + f.Path, Build: build}
			if f.Modification != nil {
				one.Made = *f.Modification
			}
			found = append(found, one)
		}
	}
	return found, nil
}

// browse lists files of a folder on a datastore. A folder that is not there has none, nor
// has a datastore that cannot be looked at, which no build uses.
func (d *driver) browse(ctx context.Context, i item, folder, pattern string) ([]types.FileInfo, error) {
	c, err := d.vim(ctx)
	if err != nil {
		return nil, err
	}
	b, err := object.NewDatastore(c, i.ref).Browser(ctx)
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", folder, explain(err))
	}
	result, err := d.do(ctx, "look at "+folder, nil, func(ctx context.Context) (*object.Task, error) {
		return b.SearchDatastore(ctx, folder, &types.HostDatastoreBrowserSearchSpec{
			MatchPattern: []string{pattern}, Details: &types.FileQueryFlags{FileSize: true, Modification: true, FileType: true, FileOwner: false},
		})
	})
	if is[*types.FileNotFound](err) || is[*types.InvalidDatastore](err) || is[*types.InaccessibleDatastore](err) || is[*types.CannotAccessFile](err) || soap.IsSoapFault(err) && is[*types.InvalidState](err) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	r, ok := result.(types.HostDatastoreBrowserSearchResults)
	if !ok {
		return nil, fmt.Errorf("look at %s: the task's result is no list of files", folder)
	}
	var files []types.FileInfo
	for _, f := range r.File {
		files = append(files, *f.GetFileInfo())
	}
	return files, nil
}

// pinStored pins a file on a datastore: by its size and the time of its last change, since
// a datastore knows no digest of it.
func (d *driver) pinStored(ctx context.Context, at string) (*platforms.Pin, error) {
	name, file, err := storedName(at)
	if err != nil {
		return nil, &platforms.OptionError{Err: fmt.Errorf("datastore_iso: %w", err)}
	}
	ds, err := d.datastore(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("datastore_iso: %w", err)
	}
	list, err := d.browse(ctx, item{ref: ds.Reference(), name: name}, ds.Path(path.Dir(file)), path.Base(file))
	if err != nil {
		return nil, fmt.Errorf("datastore_iso: %w", err)
	}
	for _, f := range list {
		if f.Path != path.Base(file) {
			continue
		}
		pin := &platforms.Pin{ID: fmt.Sprintf("%s %d", at, f.FileSize)}
		if f.Modification != nil {
			pin.Date = f.Modification.UTC().Format(time.RFC3339)
			pin.ID += " " + pin.Date
		}
		return pin, nil
	}
	return nil, &platforms.OptionError{Err: fmt.Errorf("datastore_iso: there is no file %s", at)}
}
