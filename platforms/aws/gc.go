package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/sync/errgroup"

	"bake.build/bake/platforms"
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

// Collect implements platforms.GarbageCollector. What was finished after all, by this
// build or by one that took it over, is left alone.
func (d *driver) Collect(ctx context.Context, r platforms.Resource) (got platforms.Collected, err error) {
	region := r.Place
	switch r.Kind {
	case kindSnapshot:
		return d.collectSnapshots(ctx, region, r.ID)
	case kindImage, kindLaunch:
		return d.collectImage(ctx, r)
	case kindInstance:
		got.Removed, err = d.collectInstance(ctx, region, r.ID)
	case kindKeyPair:
		got.Removed, err = d.collectKeyPair(ctx, region, r.ID)
	case kindGroup:
		got.Removed, err = d.collectGroup(ctx, region, r.ID)
	case kindVolume:
		got.Removed, err = true, d.deleteVolume(ctx, region, r.ID)
	case kindVPC:
		got.Removed, err = d.collectVPC(ctx, region, r.ID)
	default:
		err = fmt.Errorf("aws: no resource is called %q", r.Kind)
	}
	return got, err
}

// collectSnapshots removes the snapshots of a token. One that an image is made of goes
// with that.
func (d *driver) collectSnapshots(ctx context.Context, region, token string) (got platforms.Collected, err error) {
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
	if r.Kind == kindImage {
		switch build := i.tags[tagBuild]; {
		case i.tags[tagReady] != "":
			return platforms.Collected{Kept: "the image " + i.id + " is finished"}, nil
		case build == "":
			return platforms.Collected{Kept: "the image " + i.id + " was not made by bake"}, nil
		case r.Build != "" && build != r.Build:
			return platforms.Collected{Kept: "the build " + build + " has taken the image " + i.id + " over"}, nil
		}
	}
	return platforms.Collected{Removed: true}, d.deregister(ctx, *i, false)
}

// collectKeyPair removes a key pair.
func (d *driver) collectKeyPair(ctx context.Context, region, name string) (removed bool, err error) {
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return false, err
	}
	out, err := c.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{Filters: []types.Filter{filter("key-name", name)}})
	if err != nil || len(out.KeyPairs) == 0 {
		return false, err
	}
	return true, d.deleteKeyPair(ctx, region, name)
}

// collectInstance ends an instance and removes the volumes that outlive it.
func (d *driver) collectInstance(ctx context.Context, region, token string) (removed bool, err error) {
	list, err := d.findInstances(ctx, region, filter("tag:"+tagToken, token))
	if err != nil {
		return false, err
	}
	if err := d.endInstances(ctx, region, list); err != nil {
		return false, err
	}
	volumes, err := d.findVolumes(ctx, region, filter("tag:"+tagToken, token))
	errs := []error{err}
	for _, v := range volumes {
		errs = append(errs, d.deleteVolume(ctx, region, aws.ToString(v.VolumeId)))
	}
	return len(list)+len(volumes) > 0, errors.Join(errs...)
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
func (d *driver) collectGroup(ctx context.Context, region, name string) (removed bool, err error) {
	groups, err := d.findGroups(ctx, region, filter("group-name", name))
	if err != nil || len(groups) == 0 {
		return false, err
	}
	id := aws.ToString(groups[0].GroupId)
	list, err := d.findInstances(ctx, region, filter("instance.group-id", id), filter("tag-key", tagBuild))
	if err != nil {
		return false, err
	}
	if err := d.endInstances(ctx, region, list); err != nil {
		return false, err
	}
	return true, d.deleteGroup(ctx, region, id)
}

// everywhere calls do for all regions that the account can use, at once. A function
// given to add is called while no other one is. A region that fails keeps no other
// from being worked on; one that a policy denies is platforms.Unseen.
func (d *driver) everywhere(ctx context.Context, do func(ctx context.Context, region string, add func(func())) error) error {
	home, err := d.clients.region(ctx)
	if err != nil {
		return err
	}
	state, err := d.regionStates(ctx, home)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	add := func(f func()) {
		mu.Lock()
		defer mu.Unlock()
		f()
	}
	var g errgroup.Group
	g.SetLimit(maxRegions)
	var errs []error
	for region, s := range state {
		if s == notOptedIn {
			continue
		}
		g.Go(func() error {
			err := do(ctx, region, add)
			if region != home && denied(err) {
				err = &platforms.Unseen{Place: region, Err: err}
			}
			add(func() { errs = append(errs, err) })
			return nil
		})
	}
	return errors.Join(append(errs, g.Wait())...)
}

// denied reports whether a policy of the account, or of its organisation, does not let
// these credentials do something.
func denied(err error) bool {
	return hasCode(err, "UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "Client.UnauthorizedOperation")
}

// Orphans implements platforms.GarbageCollector: it looks in all regions that the
// account can use. Kinds are in the order in which they can be removed.
func (d *driver) Orphans(ctx context.Context, before time.Time) ([]platforms.Resource, error) {
	account, err := d.clients.account(ctx)
	if err != nil {
		return nil, err
	}
	var found []platforms.Resource
	err = d.everywhere(ctx, func(ctx context.Context, region string, add func(func())) error {
		var list []platforms.Resource
		note := func(kind, id, build string, made time.Time) {
			if made.Before(before) {
				list = append(list, d.record(account, build, kind, region, id))
			}
		}
		err := errors.Join(d.leftImages(ctx, region, note), d.leftMachines(ctx, region, note))
		add(func() { found = append(found, list...) })
		return err
	})
	order := []string{kindInstance, kindImage, kindLaunch, kindSnapshot, kindVolume, kindKeyPair, kindGroup, kindVPC}
	slices.SortFunc(found, func(a, b platforms.Resource) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.Kind), slices.Index(order, b.Kind)), cmp.Compare(a.Place, b.Place), cmp.Compare(a.ID, b.ID))
	})
	return found, err
}

// leftImages notes images and snapshots that were not finished. Layers are finished
// as long as EBS did not fail.
func (d *driver) leftImages(ctx context.Context, region string, note func(kind, id, build string, made time.Time)) error {
	images, err := d.findImages(ctx, region, filter("tag-key", tagBuild))
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, i := range images {
		for _, s := range i.snapshots {
			used[s] = true
		}
		switch {
		case i.tags[tagReady] != "" || i.tags[tagKey] != "":
		case i.tags[tagToken] != "":
			note(kindLaunch, i.name, i.tags[tagBuild], i.created)
		default:
			note(kindImage, i.name, i.tags[tagBuild], i.created)
		}
	}
	snapshots, err := d.findSnapshots(ctx, region, filter("tag-key", tagToken))
	if err != nil {
		return err
	}
	for _, s := range snapshots {
		tags := tagsOf(s.Tags)
		if !used[aws.ToString(s.SnapshotId)] && (tags[tagKey] == "" || s.State == types.SnapshotStateError) {
			note(kindSnapshot, tags[tagToken], tags[tagBuild], aws.ToTime(s.StartTime))
		}
	}
	return nil
}

// leftMachines notes instances and what they were made with.
func (d *driver) leftMachines(ctx context.Context, region string, note func(kind, id, build string, made time.Time)) error {
	instances, err := d.findInstances(ctx, region, filter("tag-key", tagBuild))
	if err != nil {
		return err
	}
	for _, i := range instances {
		note(kindInstance, tagsOf(i.Tags)[tagToken], tagsOf(i.Tags)[tagBuild], aws.ToTime(i.LaunchTime))
	}
	volumes, err := d.findVolumes(ctx, region, filter("tag-key", tagBuild), filter("status", "available"))
	if err != nil {
		return err
	}
	for _, v := range volumes {
		note(kindVolume, aws.ToString(v.VolumeId), tagsOf(v.Tags)[tagBuild], aws.ToTime(v.CreateTime))
	}
	groups, err := d.findGroups(ctx, region, filter("tag-key", tagBuild))
	if err != nil {
		return err
	}
	for _, g := range groups {
		begun, _ := time.Parse(time.RFC3339, tagsOf(g.Tags)[tagBegun]) // none counts as long ago
		note(kindGroup, aws.ToString(g.GroupName), tagsOf(g.Tags)[tagBuild], begun)
	}
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return err
	}
	vpcs, err := c.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: []types.Filter{filter("tag-key", tagBuild)}})
	if err != nil {
		return fmt.Errorf("%s: look for VPCs: %w", region, err)
	}
	for _, v := range vpcs.Vpcs {
		begun, _ := time.Parse(time.RFC3339, tagsOf(v.Tags)[tagBegun]) // none counts as long ago
		note(kindVPC, tagsOf(v.Tags)[tagToken], tagsOf(v.Tags)[tagBuild], begun)
	}
	keys, err := c.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{Filters: []types.Filter{filter("tag-key", tagBuild)}})
	if err != nil {
		return fmt.Errorf("%s: list the key pairs: %w", region, err)
	}
	for _, k := range keys.KeyPairs {
		note(kindKeyPair, aws.ToString(k.KeyName), tagsOf(k.Tags)[tagBuild], aws.ToTime(k.CreateTime))
	}
	return nil
}

// findSnapshots returns the account's own snapshots in a region that all filters
// fit.
func (d *driver) findSnapshots(ctx context.Context, region string, filters ...types.Filter) ([]types.Snapshot, error) {
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return nil, err
	}
	var list []types.Snapshot
	pages := ec2.NewDescribeSnapshotsPaginator(c, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: filters})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: look for snapshots: %w", region, err)
		}
		list = append(list, page.Snapshots...)
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
	var list []types.Instance
	pages := ec2.NewDescribeInstancesPaginator(c, &ec2.DescribeInstancesInput{Filters: filters})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: look for instances: %w", region, err)
		}
		for _, r := range page.Reservations {
			list = append(list, r.Instances...)
		}
	}
	return list, nil
}

func (d *driver) findVolumes(ctx context.Context, region string, filters ...types.Filter) ([]types.Volume, error) {
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return nil, err
	}
	var list []types.Volume
	pages := ec2.NewDescribeVolumesPaginator(c, &ec2.DescribeVolumesInput{Filters: filters})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: look for volumes: %w", region, err)
		}
		list = append(list, page.Volumes...)
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
