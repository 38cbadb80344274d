package vsphere

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
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

// A target is where an image is uploaded to.
type target struct {
	*place
	datastore types.ManagedObjectReference
	network   item
}

// target finds what has to be known of the place beyond what a clone has from its origin.
func (j *job) target(ctx context.Context) (*target, error) {
	p, err := j.d.place(ctx)
	if err != nil {
		return nil, err
	}
	c, err := j.d.vim(ctx)
	if err != nil {
		return nil, err
	}
	inv, err := loadInventory(ctx, c, append(networkTypes, typeDatastore)...)
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
	t, err := j.target(ctx)
	if err != nil {
		return nil, err
	}
	token := newToken()
	spec, files, err := j.importSpec(ctx, t, token, info.Size())
	if err != nil {
		return nil, err
	}
	upload, err := j.d.Begin(ctx, kindUpload, "", token)
	if err != nil {
		return nil, err
	}
	ref, err := j.upload(ctx, t, spec, files, disk, info.Size())
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

// importSpec has the server make the request that imports the machine.
func (j *job) importSpec(ctx context.Context, t *target, token string, size int64) (*types.VirtualMachineImportSpec, []types.OvfFileItem, error) {
	o := j.o.uploaded(j.p.Boot == "uefi")
	o.Network = t.network.name
	text, err := describe(j.name, o, size)
	if err != nil {
		return nil, nil, &platforms.OptionError{Err: fmt.Errorf("image_hardware: %w", err)}
	}
	c, err := j.d.vim(ctx)
	if err != nil {
		return nil, nil, err
	}
	params := &types.OvfCreateImportSpecParams{
		EntityName: uploadName(token), HostSystem: t.host, DiskProvisioning: string(types.OvfCreateImportSpecParamsDiskProvisioningTypeThin),
		NetworkMapping: []types.OvfNetworkMapping{{Name: o.Network, Network: t.network.ref}},
	}
	result, err := ovf.NewManager(c).CreateImportSpec(ctx, text, object.NewReference(c, t.pool), object.NewReference(c, t.datastore), params)
	if err != nil {
		return nil, nil, fmt.Errorf("have the server read the descriptor: %w", explain(err))
	}
	for _, warning := range result.Warning {
		j.say("%s", warning.LocalizedMessage)
	}
	if len(result.Error) > 0 {
		var texts []string
		for _, e := range result.Error {
			texts = append(texts, strings.TrimSpace(e.LocalizedMessage+" "+fmt.Sprintf("(%T)", e.Fault)))
		}
		return nil, nil, fmt.Errorf("the server refuses the machine: %s", strings.Join(texts, "; "))
	}
	spec, ok := result.ImportSpec.(*types.VirtualMachineImportSpec)
	if !ok {
		return nil, nil, errors.New("the server made an import of something else than a virtual machine")
	}
	marks := j.marks(nil)
	marks[markToken], marks[markBegun] = token, now()
	spec.ConfigSpec.ExtraConfig = append(spec.ConfigSpec.ExtraConfig, extraConfig(marks)...)
	spec.ConfigSpec.Annotation = j.o.Description
	return spec, result.FileItem, nil
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
