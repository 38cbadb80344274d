package vsphere

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/ovf"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/internal/hardware"
	descriptor "bake.build/bake/internal/ovf"
	"bake.build/bake/internal/vmdk"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/publish"
	"bake.build/bake/platforms/resource"
)

// A target is where a machine that has no origin there is made.
type target struct {
	*place
	datastore     types.ManagedObjectReference
	datastoreName string
	network       item
}

// target finds what has to be known of the place beyond what a clone has from its origin.
func (d *driver) target(ctx context.Context) (*target, error) {
	p, err := d.place(ctx)
	if err != nil {
		return nil, err
	}
	c, err := d.vim(ctx)
	if err != nil {
		return nil, err
	}
	inv, err := loadInventory(ctx, c, append(slices.Clone(networkTypes), typeDatastore)...)
	if err != nil {
		return nil, err
	}
	var compute mo.ComputeResource
	if err := property.DefaultCollector(c).RetrieveOne(ctx, p.compute, []string{"datastore", "network"}, &compute); err != nil {
		return nil, fmt.Errorf("look for the datastores and networks: %w", explain(err))
	}
	reached := func(refs []types.ManagedObjectReference) (list []item) {
		for _, ref := range refs {
			if i, ok := inv.items[ref]; ok {
				list = append(list, i)
			}
		}
		return list
	}
	t := &target{place: p}
	if p.datastore != nil {
		t.datastore = *p.datastore
	} else if i, err := inv.only("datastore", "datastore", reached(compute.Datastore)); err != nil {
		return nil, err
	} else {
		t.datastore = i.ref
	}
	t.datastoreName = inv.items[t.datastore].name
	if p.network != nil {
		t.network = inv.items[*p.network]
	} else if t.network, err = inv.only("network", "network", reached(compute.Network)); err != nil {
		return nil, err
	}
	return t, nil
}

// ofDisk makes the image of a disk, which is uploaded under a name of the build's own: the
// image's name is that of a finished upload only.
func (j *job) ofDisk(ctx context.Context, disk string) (*publish.Held[image], error) {
	info, err := os.Stat(disk)
	if err != nil {
		return nil, err
	}
	t, err := j.d.target(ctx)
	if err != nil {
		return nil, err
	}
	token := newToken()
	i, err := j.importing(ctx, t, token, disk, info.Size())
	if err != nil {
		return nil, err
	}
	upload, err := j.d.Begin(ctx, kindUpload, "", token)
	if err != nil {
		return nil, err
	}
	ref, err := i.run(ctx)
	if err != nil {
		return nil, upload.Failed(ctx, resource.Unclear(err)) // something may be there
	}
	record, err := j.d.Begin(ctx, kindImage, "", j.name)
	if err != nil {
		return nil, err
	}
	c, err := j.d.vim(ctx)
	if err != nil {
		return nil, err
	}
	_, err = j.d.do(ctx, "rename the upload "+uploadName(token)+" to "+j.name, j.out, func(ctx context.Context) (*object.Task, error) {
		return object.NewVirtualMachine(c, ref).Rename(ctx, j.name)
	})
	if err != nil { // another build may have been first
		held, err := j.created(ctx, nil, record, err)
		return held, errors.Join(err, upload.Look(ctx))
	}
	held, err := j.created(ctx, ref, record, nil)
	return held, errors.Join(err, upload.Forget())
}

func uploadName(token string) string { return "bake-" + token }

// diskFile is the name of the disk in the descriptor.
const diskFile = "disk.vmdk"

// importing is the import of a machine with the disk.
func (j *job) importing(ctx context.Context, t *target, token, disk string, size int64) (*importing, error) {
	folder, err := j.folder(ctx, true)
	if err != nil {
		return nil, err
	}
	o := j.o.uploaded(j.p.Boot == "uefi")
	o.Network = t.network.name
	i := &importing{d: j.d, target: t, folder: folder, out: j.out}
	if err := i.ofRaw(ctx, uploadName(token), o, disk, size, j.diskIdentity()); err != nil {
		return nil, err
	}
	marks := j.marks(nil)
	marks[markToken], marks[markBegun] = token, now()
	i.spec.ConfigSpec.ExtraConfig = append(i.spec.ConfigSpec.ExtraConfig, extraConfig(marks)...)
	i.spec.ConfigSpec.Annotation = j.o.Description
	return i, nil
}

// ofRaw prepares the import of a machine with a raw disk.
func (i *importing) ofRaw(ctx context.Context, name string, o hardware.Options, disk string, size int64, id vmdk.Identity) error {
	text, err := describe(name, o, size)
	if err != nil {
		return &platforms.OptionError{Err: fmt.Errorf("hardware: %w", err)}
	}
	if err := i.prepare(ctx, text, name, []string{o.Network}); err != nil {
		return err
	}
	if len(i.files) != 1 {
		return fmt.Errorf("the server asks for %d disks of one", len(i.files))
	}
	i.members = []member{{file: i.files[0], size: size, write: func(ctx context.Context, w io.Writer, done func(n int64)) error {
		return vmdk.WriteStream(ctx, w, diskFile, disk, size, id, done)
	}}}
	return nil
}

// prepare has the server make the request that imports the machine of a descriptor, all
// of whose networks become the target's.
func (i *importing) prepare(ctx context.Context, text, name string, networks []string) error {
	c, err := i.d.vim(ctx)
	if err != nil {
		return err
	}
	params := &types.OvfCreateImportSpecParams{
		EntityName: name, HostSystem: i.target.host, DiskProvisioning: string(types.OvfCreateImportSpecParamsDiskProvisioningTypeThin),
	}
	for _, network := range networks {
		params.NetworkMapping = append(params.NetworkMapping, types.OvfNetworkMapping{Name: network, Network: i.target.network.ref})
	}
	result, err := ovf.NewManager(c).CreateImportSpec(ctx, text, object.NewReference(c, i.target.pool), object.NewReference(c, i.target.datastore), params)
	if err != nil {
		return fmt.Errorf("have the server read the descriptor: %w", explain(err))
	}
	for _, warning := range result.Warning {
		_, _ = fmt.Fprintln(i.out, warning.LocalizedMessage) // the log keeps its own error
	}
	if len(result.Error) > 0 {
		var texts []string
		for _, e := range result.Error {
			texts = append(texts, strings.TrimSpace(e.LocalizedMessage+" "+fmt.Sprintf("(%T)", e.Fault)))
		}
		return fmt.Errorf("the server refuses the machine: %s", strings.Join(texts, "; "))
	}
	spec, ok := result.ImportSpec.(*types.VirtualMachineImportSpec)
	if !ok {
		return errors.New("the server made an import of something else than a virtual machine")
	}
	i.spec, i.files = spec, result.FileItem
	return nil
}

// describe is the descriptor of a machine with one disk.
func describe(name string, o hardware.Options, size int64) (string, error) {
	m := &descriptor.Machine{
		Name: name, Hardware: o, Options: descriptor.Options{Flavor: descriptor.VMware},
		Disks: []descriptor.Disk{{File: diskFile, Size: -1, Capacity: size}},
	}
	text, err := m.Encode()
	return string(text), err
}

// diskIdentity is the identity of the disk of an image, which follows from what it is.
func (j *job) diskIdentity() vmdk.Identity {
	return vmdk.IdentityOf(sha256.Sum256([]byte("vsphere disk " + j.identity)))
}
