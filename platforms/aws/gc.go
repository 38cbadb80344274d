package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/resource"
)

// Kinds of resources. A snapshot, an instance and a VPC are found by their token, all
// others by their name: a record is written before there is an id. A volume is
// found by its id, and only where its instance's record was lost.
const (
	kindGroup    = "security group"
	kindImage    = "image"
	kindInstance = "instance"
	kindKeyPair  = "key pair"
	kindLaunch   = "launch image" // what an instance on a layer is launched from
	kindSnapshot = "snapshot"
	kindVolume   = "volume"
	kindVPC      = "VPC"
)

// manager is what the driver makes, with its options as text.
func (d *driver) manager(options json.RawMessage) *resource.Manager {
	return &resource.Manager{
		Platform: Name, Options: options, Ledger: d.host.Ledger(), Pause: func() time.Duration { return d.pause },
		Identify: d.clients.account, Tagged: d.tagged, Places: d.places(),
		Kinds: []resource.Kind{
			{Name: kindInstance, Remove: d.collectInstance},
			{Name: kindImage, Remove: d.collectImage},
			{Name: kindLaunch, Remove: d.collectImage},
			{Name: kindSnapshot, Remove: d.collectSnapshots},
			{Name: kindVolume, Remove: d.collectVolume},
			{Name: kindKeyPair, Remove: d.collectKeyPair},
			{Name: kindGroup, Remove: d.collectGroup},
			{Name: kindVPC, Remove: d.collectVPC},
		},
	}
}

// collectSnapshots removes the snapshots of a token. One that an image is made of goes
// with that.
func (d *driver) collectSnapshots(ctx context.Context, r platforms.Resource) (platforms.Collected, error) {
	return d.removeSnapshots(ctx, r.Place, r.ID)
}

func (d *driver) removeSnapshots(ctx context.Context, region, token string) (got platforms.Collected, err error) {
	list, err := d.findSnapshots(ctx, region, filter("tag:"+tagToken, token))
	if err != nil {
		return got, err
	}
	var errs []error
	for _, s := range list {
		id := aws.ToString(s.SnapshotId)
		user, err := d.snapshotUser(ctx, region, id)
		if err == nil && user != "" {
			got.Kept = "the image " + user + " is made of " + id
			continue
		}
		if err == nil {
			if err = d.dropSnapshot(ctx, region, id); err == nil {
				got.Removed = true
			}
		}
		errs = append(errs, err)
	}
	return got, errors.Join(errs...)
}

// collectImage removes an image that no build has finished or taken over.
func (d *driver) collectImage(ctx context.Context, r platforms.Resource) (got platforms.Collected, err error) {
	i, err := d.named(ctx, r.Place, r.ID)
	if err != nil || i == nil {
		return got, err
	}
	if why := i.Facts().Kept(r.Build); why != "" && r.Kind == kindImage {
		return platforms.Collected{Kept: why}, nil
	}
	return platforms.Collected{Removed: true}, d.deregister(ctx, *i, false)
}

// collectKeyPair removes a key pair.
func (d *driver) collectKeyPair(ctx context.Context, r platforms.Resource) (got platforms.Collected, err error) {
	c, err := d.clients.ec2(ctx, r.Place)
	if err != nil {
		return got, err
	}
	out, err := c.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{Filters: []types.Filter{filter("key-name", r.ID)}})
	if err != nil || len(out.KeyPairs) == 0 {
		return got, err
	}
	return platforms.Collected{Removed: true}, d.deleteKeyPair(ctx, r.Place, r.ID)
}

// collectInstance ends an instance and removes the volumes that outlive it.
func (d *driver) collectInstance(ctx context.Context, r platforms.Resource) (got platforms.Collected, err error) {
	list, err := d.findInstances(ctx, r.Place, filter("tag:"+tagToken, r.ID))
	if err != nil {
		return got, err
	}
	if err := d.endInstances(ctx, r.Place, list); err != nil {
		return got, err
	}
	volumes, err := d.findVolumes(ctx, r.Place, filter("tag:"+tagToken, r.ID))
	errs := []error{err}
	for _, v := range volumes {
		errs = append(errs, d.deleteVolume(ctx, r.Place, aws.ToString(v.VolumeId)))
	}
	got.Removed = len(list)+len(volumes) > 0
	return got, errors.Join(errs...)
}

func (d *driver) collectVolume(ctx context.Context, r platforms.Resource) (platforms.Collected, error) {
	return platforms.Collected{Removed: true}, d.deleteVolume(ctx, r.Place, r.ID)
}

// endInstances ends instances and waits for that.
func (d *driver) endInstances(ctx context.Context, region string, list []types.Instance) error {
	for _, i := range list {
		if err := d.terminate(ctx, region, aws.ToString(i.InstanceId)); err != nil {
			return err
		}
	}
	for _, i := range list {
		if err := d.waitGone(ctx, region, aws.ToString(i.InstanceId)); err != nil {
			return err
		}
	}
	return nil
}

// collectGroup removes a security group and, before it, what bake's instances are
// still in it.
func (d *driver) collectGroup(ctx context.Context, r platforms.Resource) (got platforms.Collected, err error) {
	groups, err := d.findGroups(ctx, r.Place, filter("group-name", r.ID))
	if err != nil || len(groups) == 0 {
		return got, err
	}
	id := aws.ToString(groups[0].GroupId)
	list, err := d.findInstances(ctx, r.Place, filter("instance.group-id", id), filter("tag-key", tagBuild))
	if err != nil {
		return got, err
	}
	if err := d.endInstances(ctx, r.Place, list); err != nil {
		return got, err
	}
	return platforms.Collected{Removed: true}, d.deleteGroup(ctx, r.Place, id)
}

// places are the regions that the account can use.
func (d *driver) places() resource.Places {
	return resource.Places{AtOnce: maxRegions, Denied: denied, List: func(ctx context.Context) (home string, all []string, err error) {
		if home, err = d.clients.region(ctx); err != nil {
			return "", nil, err
		}
		state, err := d.regionStates(ctx, home)
		for region, s := range state {
			if s != notOptedIn {
				all = append(all, region)
			}
		}
		return home, all, err
	}}
}

// denied reports whether a policy of the account, or of its organisation, does not let
// these credentials do something.
func denied(err error) bool {
	return hasCode(err, "UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "Client.UnauthorizedOperation")
}

// tagged returns what builds have begun in a region and neither finished nor removed.
func (d *driver) tagged(ctx context.Context, region string) ([]resource.Found, error) {
	images, err := d.leftImages(ctx, region)
	others, otherErr := d.leftMachines(ctx, region)
	return append(images, others...), errors.Join(err, otherErr)
}

// leftImages returns images and snapshots that were not finished. Layers are finished
// as long as EBS did not fail.
func (d *driver) leftImages(ctx context.Context, region string) (list []resource.Found, err error) {
	images, err := d.findImages(ctx, region, filter("tag-key", tagBuild))
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, i := range images {
		for _, s := range i.snapshots {
			used[s] = true
		}
		switch {
		case i.tags[tagReady] != "" || i.tags[tagKey] != "":
		case i.tags[tagToken] != "":
			list = append(list, left(kindLaunch, i.name, i.tags, i.created))
		default:
			list = append(list, left(kindImage, i.name, i.tags, i.created))
		}
	}
	snapshots, err := d.findSnapshots(ctx, region, filter("tag-key", tagToken))
	for _, s := range snapshots {
		tags := tagsOf(s.Tags)
		if !used[aws.ToString(s.SnapshotId)] && (tags[tagKey] == "" || s.State == types.SnapshotStateError) {
			list = append(list, left(kindSnapshot, tags[tagToken], tags, aws.ToTime(s.StartTime)))
		}
	}
	return list, err
}

// left is something that was found by its tags.
func left(kind, id string, tags map[string]string, made time.Time) resource.Found {
	return resource.Found{Kind: kind, ID: id, Build: tags[tagBuild], Made: made}
}

// leftMachines returns instances and what they were made with.
func (d *driver) leftMachines(ctx context.Context, region string) (list []resource.Found, err error) {
	instances, err := d.findInstances(ctx, region, filter("tag-key", tagBuild))
	if err != nil {
		return nil, err
	}
	for _, i := range instances {
		tags := tagsOf(i.Tags)
		list = append(list, left(kindInstance, tags[tagToken], tags, aws.ToTime(i.LaunchTime)))
	}
	volumes, err := d.findVolumes(ctx, region, filter("tag-key", tagBuild), filter("status", "available"))
	if err != nil {
		return list, err
	}
	for _, v := range volumes {
		list = append(list, left(kindVolume, aws.ToString(v.VolumeId), tagsOf(v.Tags), aws.ToTime(v.CreateTime)))
	}
	groups, err := d.findGroups(ctx, region, filter("tag-key", tagBuild))
	if err != nil {
		return list, err
	}
	for _, g := range groups {
		tags := tagsOf(g.Tags)
		begun, _ := time.Parse(time.RFC3339, tags[tagBegun]) // none counts as long ago
		list = append(list, left(kindGroup, aws.ToString(g.GroupName), tags, begun))
	}
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return list, err
	}
	vpcs, err := c.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: []types.Filter{filter("tag-key", tagBuild)}})
	if err != nil {
		return list, fmt.Errorf("%s: look for VPCs: %w", region, err)
	}
	for _, v := range vpcs.Vpcs {
		tags := tagsOf(v.Tags)
		begun, _ := time.Parse(time.RFC3339, tags[tagBegun]) // none counts as long ago
		list = append(list, left(kindVPC, tags[tagToken], tags, begun))
	}
	keys, err := c.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{Filters: []types.Filter{filter("tag-key", tagBuild)}})
	if err != nil {
		return list, fmt.Errorf("%s: list the key pairs: %w", region, err)
	}
	for _, k := range keys.KeyPairs {
		list = append(list, left(kindKeyPair, aws.ToString(k.KeyName), tagsOf(k.Tags), aws.ToTime(k.CreateTime)))
	}
	return list, nil
}

// findSnapshots returns the account's own snapshots in a region that all filters
// fit.
func (d *driver) findSnapshots(ctx context.Context, region string, filters ...types.Filter) ([]types.Snapshot, error) {
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return nil, err
	}
	list, err := listed(ctx, ec2.NewDescribeSnapshotsPaginator(c, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: filters}), func(p *ec2.DescribeSnapshotsOutput) []types.Snapshot { return p.Snapshots })
	if err != nil {
		return nil, fmt.Errorf("%s: look for snapshots: %w", region, err)
	}
	return list, nil
}

// findInstances returns the instances in a region that are not ending and that all
// filters fit.
func (d *driver) findInstances(ctx context.Context, region string, filters ...types.Filter) ([]types.Instance, error) {
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return nil, err
	}
	filters = append(filters, filter("instance-state-name", "pending", "running", "stopping", "stopped"))
	list, err := listed(ctx, ec2.NewDescribeInstancesPaginator(c, &ec2.DescribeInstancesInput{Filters: filters}), func(p *ec2.DescribeInstancesOutput) (list []types.Instance) {
		for _, r := range p.Reservations {
			list = append(list, r.Instances...)
		}
		return list
	})
	if err != nil {
		return nil, fmt.Errorf("%s: look for instances: %w", region, err)
	}
	return list, nil
}

func (d *driver) findVolumes(ctx context.Context, region string, filters ...types.Filter) ([]types.Volume, error) {
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return nil, err
	}
	list, err := listed(ctx, ec2.NewDescribeVolumesPaginator(c, &ec2.DescribeVolumesInput{Filters: filters}), func(p *ec2.DescribeVolumesOutput) []types.Volume { return p.Volumes })
	if err != nil {
		return nil, fmt.Errorf("%s: look for volumes: %w", region, err)
	}
	return list, nil
}

func (d *driver) findGroups(ctx context.Context, region string, filters ...types.Filter) ([]types.SecurityGroup, error) {
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return nil, err
	}
	out, err := c.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: filters})
	if err != nil {
		return nil, fmt.Errorf("%s: look for security groups: %w", region, err)
	}
	return out.SecurityGroups, nil
}

// What AWS calls what is not there any more is no error to who removes it.

func (d *driver) deleteVolume(ctx context.Context, region, id string) error {
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return err
	}
	_, err = c.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: aws.String(id)})
	if err := unless(err, "InvalidVolume.NotFound"); err != nil {
		return fmt.Errorf("%s: delete the volume %s: %w", region, id, err)
	}
	return nil
}

func (d *driver) deleteKeyPair(ctx context.Context, region, name string) error {
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return err
	}
	_, err = c.DeleteKeyPair(ctx, &ec2.DeleteKeyPairInput{KeyName: aws.String(name)})
	if err := unless(err, "InvalidKeyPair.NotFound"); err != nil {
		return fmt.Errorf("%s: delete the key pair %s: %w", region, name, err)
	}
	return nil
}

// deleteGroup deletes a security group. The network interface of an instance is in
// it for a while after the instance has ended.
func (d *driver) deleteGroup(ctx context.Context, region, id string) error {
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return err
	}
	return d.retried(ctx, fmt.Sprintf("%s: delete the security group %s", region, id), func() error {
		_, err := c.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: aws.String(id)})
		return unless(err, "InvalidGroup.NotFound")
	})
}

// terminate ends an instance.
func (d *driver) terminate(ctx context.Context, region, id string) error {
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return err
	}
	_, err = c.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}}, fresh)
	if err := unless(err, "InvalidInstanceID.NotFound"); err != nil {
		return fmt.Errorf("%s: terminate the instance %s: %w", region, id, err)
	}
	return nil
}

// endTimeout is how long an instance, and what depends on its end, may take to go.
const endTimeout = 10 * time.Minute

// waitGone waits until an instance has ended.
func (d *driver) waitGone(ctx context.Context, region, id string) error {
	return d.loop(fmt.Sprintf("%s: the end of the instance %s", region, id), endTimeout, 0).Until(ctx, func(ctx context.Context) (bool, error) {
		i, err := d.instance(ctx, region, id)
		return err == nil && (i == nil || i.State != nil && i.State.Name == types.InstanceStateNameTerminated), err
	})
}

// instance returns what is known of an instance, or nil when there is none.
func (d *driver) instance(ctx context.Context, region, id string) (*types.Instance, error) {
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return nil, err
	}
	out, err := c.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	if hasCode(err, "InvalidInstanceID.NotFound") {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("%s: look for the instance %s: %w", region, id, err)
	}
	for _, r := range out.Reservations {
		for _, i := range r.Instances {
			return &i, nil
		}
	}
	return nil, nil
}
