package aws

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"bake.build/bake/platforms/publish"
)

// Change implements publish.Images.
func (j *job) Change(ctx context.Context, i image) error {
	c, err := j.d.clients.ec2(ctx, i.region)
	if err != nil {
		return err
	}
	fail := func(what string, err error) error { return fmt.Errorf("%s: %s: %s: %w", i.region, i.id, what, err) }
	if err := j.share(ctx, c, i); err != nil {
		return fail("share it", err)
	}
	if err := j.shareSnapshots(ctx, c, i); err != nil {
		return fail("share its snapshots", err)
	}
	if after, err := j.o.deprecateAfter(); err != nil {
		return err
	} else if after > 0 {
		if err := j.deprecate(ctx, c, i, after); err != nil {
			return fail("set the time from which it is deprecated", err)
		}
	}
	if j.o.Protect {
		if _, err := c.EnableImageDeregistrationProtection(ctx, &ec2.EnableImageDeregistrationProtectionInput{ImageId: &i.id}, fresh); err != nil {
			return fail("protect it", err)
		}
	}
	life := j.life()
	if err := j.takeOff(ctx, c, i, life.Dropped(i.tags)); err != nil {
		return err
	}
	tags := j.tags()
	maps.Copy(tags, life.SettingsMarks(tagValueMost, i.tags))
	if len(j.o.SnapshotUsers) > 0 || len(j.o.CopyTo) > 0 {
		tags[tagShared] = "yes"
	}
	if _, err := c.CreateTags(ctx, &ec2.CreateTagsInput{Resources: append([]string{i.id}, i.snapshots...), Tags: ec2Tags(tags)}, fresh); err != nil {
		return fail("tag it", err)
	}
	if j.o.SSMParameter != "" {
		if err := j.setParameter(ctx, i); err != nil {
			return fail("set the parameter "+j.o.SSMParameter, err)
		}
	}
	return nil
}

// Settings of an image that a later definition may leave out; see publish.Settings.
const (
	setDeprecation = "deprecate_after"
	setProtection  = "protect"
	setParameter   = "ssm_parameter " // and its name
	setTag         = "tag "           // and its name
	setAccount     = "account "       // and its number: it has a copy
)

// settings are those of the definition.
func (j *job) settings() (list []string) {
	if j.o.DeprecateAfter != "" {
		list = append(list, setDeprecation)
	}
	if j.o.Protect {
		list = append(list, setProtection)
	}
	if j.o.SSMParameter != "" {
		list = append(list, setParameter+j.o.SSMParameter)
	}
	for _, account := range j.accounts() {
		list = append(list, setAccount+account)
	}
	for _, tags := range []map[string]string{j.on, j.d.options.Tags, j.o.ImageTags} {
		for name := range tags {
			list = append(list, setTag+name)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// takeOff takes off an image what an earlier definition has set.
func (j *job) takeOff(ctx context.Context, c *ec2.Client, i image, dropped []string) error {
	var tags []types.Tag
	for _, s := range dropped {
		var err error
		switch {
		case s == setDeprecation:
			_, err = c.DisableImageDeprecation(ctx, &ec2.DisableImageDeprecationInput{ImageId: &i.id}, fresh)
		case s == setProtection:
			_, err = c.DisableImageDeregistrationProtection(ctx, &ec2.DisableImageDeregistrationProtectionInput{ImageId: &i.id}, fresh)
		case strings.HasPrefix(s, setTag):
			tags = append(tags, types.Tag{Key: aws.String(strings.TrimPrefix(s, setTag))})
		case strings.HasPrefix(s, setAccount):
			j.say("%s: the definition does not name the %s any more: the copy of the image there stays", i.region, s)
		default:
			j.say("%s: the definition does not name the %s any more, which stays as it is", i.region, s)
		}
		if err != nil {
			return fmt.Errorf("%s: %s: take off %s: %w", i.region, i.id, s, err)
		}
	}
	if len(tags) == 0 {
		return nil
	}
	if _, err := c.DeleteTags(ctx, &ec2.DeleteTagsInput{Resources: append([]string{i.id}, i.snapshots...), Tags: tags}, fresh); err != nil {
		return fmt.Errorf("%s: %s: remove tags: %w", i.region, i.id, err)
	}
	return nil
}

// Mark implements publish.Images.
func (j *job) Mark(ctx context.Context, i image, marks map[string]string) error {
	c, err := j.d.clients.ec2(ctx, i.region)
	if err != nil {
		return err
	}
	if _, err := c.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{i.id}, Tags: ec2Tags(marks)}, fresh); err != nil {
		return fmt.Errorf("%s: %s: tag it: %w", i.region, i.id, err)
	}
	return nil
}

// Delete implements publish.Images.
func (j *job) Delete(ctx context.Context, i image) error { return j.d.deregister(ctx, i, false) }

// Find implements publish.Images.
func (j *job) Find(ctx context.Context, region string, q publish.Query) ([]image, error) {
	if q.ID != "" {
		ami, err := j.d.ami(ctx, region, q.ID)
		if err != nil || ami == nil {
			return nil, err
		}
		return []image{imageOf(region, *ami)}, nil
	}
	var filters []types.Filter
	for name, value := range map[string]string{"name": q.Name, "tag:" + tagName: q.Artifact, "tag:" + tagOurs: q.Project} {
		if value != "" {
			filters = append(filters, filter(name, value))
		}
	}
	return j.d.findImages(ctx, region, filters...)
}

// soon is a time that AWS, which takes no past one, still takes as a future one.
const soon = 2 * time.Minute

// deprecate sets the time from which an image counts as deprecated. For one that is
// older than that, this is now.
func (j *job) deprecate(ctx context.Context, c *ec2.Client, i image, after time.Duration) error {
	from := i.created
	if from.IsZero() {
		from = time.Now()
	}
	at := from.Add(after)
	if next := time.Now().Add(soon); at.Before(next) {
		if !i.deprecated.IsZero() && i.deprecated.Before(next) {
			return nil
		}
		at = next
	}
	_, err := c.EnableImageDeprecation(ctx, &ec2.EnableImageDeprecationInput{ImageId: &i.id, DeprecateAt: aws.Time(at)}, fresh)
	return err
}

// shareSnapshots makes those and only those that the definition names able to make
// volumes of the image's snapshots. Those of an image that never had such users are not
// asked for.
func (j *job) shareSnapshots(ctx context.Context, c *ec2.Client, i image) error {
	users := append(j.accounts(), j.o.SnapshotUsers...)
	if len(users) == 0 && i.tags[tagShared] == "" {
		return nil
	}
	for _, s := range i.snapshots {
		out, err := c.DescribeSnapshotAttribute(ctx, &ec2.DescribeSnapshotAttributeInput{SnapshotId: &s, Attribute: types.SnapshotAttributeNameCreateVolumePermission}, fresh)
		if err != nil {
			return err
		}
		var now []string
		for _, p := range out.CreateVolumePermissions {
			now = append(now, aws.ToString(p.UserId)+string(p.Group))
		}
		for _, change := range []*types.CreateVolumePermissionModifications{ // of which AWS takes one at a time
			{Add: volumePermissions(users, now)}, {Remove: volumePermissions(now, users)},
		} {
			if len(change.Add)+len(change.Remove) == 0 {
				continue
			}
			_, err := c.ModifySnapshotAttribute(ctx, &ec2.ModifySnapshotAttributeInput{
				SnapshotId: &s, Attribute: types.SnapshotAttributeNameCreateVolumePermission, CreateVolumePermission: change,
			}, fresh)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// volumePermissions returns those of list that are not in besides.
func volumePermissions(list, besides []string) []types.CreateVolumePermission {
	var all []types.CreateVolumePermission
	for _, who := range list {
		switch {
		case slices.Contains(besides, who):
		case who == everybody:
			all = append(all, types.CreateVolumePermission{Group: types.PermissionGroupAll})
		default:
			all = append(all, types.CreateVolumePermission{UserId: aws.String(who)})
		}
	}
	return all
}

// everybody is the group that AWS calls all.
const everybody = "all"

// share makes those and only those that the definition names able to launch the
// image.
func (j *job) share(ctx context.Context, c *ec2.Client, i image) error {
	out, err := c.DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{ImageId: &i.id, Attribute: types.ImageAttributeNameLaunchPermission}, fresh)
	if err != nil {
		return err
	}
	now, want := granted(out.LaunchPermissions), append(j.accounts(), j.o.ShareWith...)
	if j.o.Public {
		want = append(want, everybody)
	}
	change := &types.LaunchPermissionModifications{Add: permissions(want, now), Remove: permissions(now, want)}
	if len(change.Add) == 0 && len(change.Remove) == 0 {
		return nil
	}
	_, err = c.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{ImageId: &i.id, LaunchPermission: change}, fresh)
	return err
}

// granted returns who has permissions.
func granted(list []types.LaunchPermission) (who []string) {
	for _, p := range list {
		who = append(who, aws.ToString(p.UserId)+aws.ToString(p.OrganizationArn)+aws.ToString(p.OrganizationalUnitArn)+string(p.Group))
	}
	return who
}

// permissions returns those of list that are not in besides.
func permissions(list, besides []string) []types.LaunchPermission {
	var all []types.LaunchPermission
	for _, who := range list {
		if slices.Contains(besides, who) {
			continue
		}
		var p types.LaunchPermission
		switch {
		case who == everybody:
			p.Group = types.PermissionGroupAll
		case strings.Contains(who, ":ou/"):
			p.OrganizationalUnitArn = aws.String(who)
		case strings.HasPrefix(who, "arn:"):
			p.OrganizationArn = aws.String(who)
		default:
			p.UserId = aws.String(who)
		}
		all = append(all, p)
	}
	return all
}

// setParameter makes the SSM parameter name the image.
func (j *job) setParameter(ctx context.Context, i image) error {
	c, err := j.d.clients.ssm(ctx, i.region)
	if err != nil {
		return err
	}
	_, err = c.PutParameter(ctx, &ssm.PutParameterInput{
		Name: aws.String(j.o.SSMParameter), Value: aws.String(i.id), Type: ssmtypes.ParameterTypeString,
		DataType: aws.String("aws:ec2:image"), Overwrite: aws.Bool(true),
	})
	return err
}

// deregister removes an image and its snapshots. Those that are layers go with it
// only if layers says so.
func (d *driver) deregister(ctx context.Context, i image, layers bool) error {
	spare := map[string]bool{}
	if !layers && len(i.snapshots) > 0 {
		list, err := d.findSnapshots(ctx, i.region, filter("tag-key", tagKey), filter("snapshot-id", i.snapshots...))
		if err != nil {
			return err
		}
		for _, s := range list {
			spare[aws.ToString(s.SnapshotId)] = true
		}
	}
	c, err := d.clients.ec2(ctx, i.region)
	if err != nil {
		return err
	}
	_, err = c.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: &i.id})
	if err != nil && !hasCode(err, "InvalidAMIID.NotFound", "InvalidAMIID.Unavailable") {
		return fmt.Errorf("%s: deregister %s: %w", i.region, i.id, err)
	}
	for _, s := range i.snapshots {
		if spare[s] {
			continue
		}
		user, err := d.snapshotUser(ctx, i.region, s)
		if err == nil && user != "" {
			continue // another image is made of it, and has it from now on
		}
		if err == nil {
			err = d.dropSnapshot(ctx, i.region, s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// snapshotUser returns an image of the account that is made of a snapshot, or "".
func (d *driver) snapshotUser(ctx context.Context, region, snapshot string) (string, error) {
	images, err := d.ownImages(ctx, region)
	if err != nil {
		return "", err
	}
	for _, i := range images {
		for _, b := range i.BlockDeviceMappings {
			if b.Ebs != nil && aws.ToString(b.Ebs.SnapshotId) == snapshot {
				return aws.ToString(i.ImageId), nil
			}
		}
	}
	return "", nil
}

// dropTimeout is how long a snapshot may count as in use by an image that is gone.
const dropTimeout = 2 * time.Minute

// dropSnapshot deletes a snapshot that no image is made of any more. For a while after
// the end of an image EBS may not know of that.
func (d *driver) dropSnapshot(ctx context.Context, region, id string) error {
	return d.loop(fmt.Sprintf("%s: delete the snapshot %s", region, id), dropTimeout, 0).Until(ctx, func(ctx context.Context) (bool, error) {
		err := d.deleteSnapshot(ctx, region, id)
		if hasCode(err, "InvalidSnapshot.InUse") {
			return false, nil
		}
		return err == nil, err
	})
}
