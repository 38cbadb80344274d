package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// finish gives an available image all that can be changed of it, and then the tag
// that says so.
func (j *job) finish(ctx context.Context, i *image) error {
	c, err := j.d.clients.ec2(ctx, i.region)
	if err != nil {
		return err
	}
	fail := func(what string, err error) error { return fmt.Errorf("%s: %s: %s: %w", i.region, i.id, what, err) }
	if err := j.share(ctx, c, i); err != nil {
		return fail("share it", err)
	}
	if after, err := j.o.deprecateAfter(); err != nil {
		return err
	} else if after > 0 {
		from := i.created
		if from.IsZero() {
			from = time.Now()
		}
		_, err = c.EnableImageDeprecation(ctx, &ec2.EnableImageDeprecationInput{ImageId: &i.id, DeprecateAt: aws.Time(from.Add(after))}, fresh)
		if err != nil {
			return fail("set the time from which it is deprecated", err)
		}
	}
	if j.o.Protect {
		if _, err := c.EnableImageDeregistrationProtection(ctx, &ec2.EnableImageDeregistrationProtectionInput{ImageId: &i.id}, fresh); err != nil {
			return fail("protect it", err)
		}
	}
	tags := j.tags()
	if _, err := c.CreateTags(ctx, &ec2.CreateTagsInput{Resources: append([]string{i.id}, i.snapshots...), Tags: ec2Tags(tags)}, fresh); err != nil {
		return fail("tag it", err)
	}
	if j.o.SSMParameter != "" {
		if err := j.setParameter(ctx, i); err != nil {
			return fail("set the parameter "+j.o.SSMParameter, err)
		}
	}
	if _, err := c.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{i.id}, Tags: ec2Tags(map[string]string{tagReady: j.p.Key})}, fresh); err != nil {
		return fail("tag it", err)
	}
	return i.finished()
}

// everybody is the group that AWS calls all.
const everybody = "all"

// share makes those and only those that the definition names able to launch the
// image.
func (j *job) share(ctx context.Context, c *ec2.Client, i *image) error {
	out, err := c.DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{ImageId: &i.id, Attribute: types.ImageAttributeNameLaunchPermission}, fresh)
	if err != nil {
		return err
	}
	var now, want []string
	for _, p := range out.LaunchPermissions {
		now = append(now, aws.ToString(p.UserId)+aws.ToString(p.OrganizationArn)+aws.ToString(p.OrganizationalUnitArn)+string(p.Group))
	}
	want = append(want, j.o.ShareWith...)
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
func (j *job) setParameter(ctx context.Context, i *image) error {
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

// retire deregisters the project's older images of the artifact in a region, but for the newest
// ones and those in use. The image that was just made is the newest one, whatever
// AWS's clock says.
func (j *job) retire(ctx context.Context, region string) error {
	images, err := j.d.findImages(ctx, region, filter("tag:"+tagName, j.p.Name), filter("tag:"+tagOurs, j.d.host.Ledger().Project()))
	if err != nil {
		return err
	}
	others := slices.DeleteFunc(images, func(i image) bool { return i.tags[tagReady] == "" || i.tags[tagImage] == j.image })
	slices.SortStableFunc(others, func(a, b image) int { return b.created.Compare(a.created) })
	var errs []error
	for _, i := range others[min(len(others), j.o.Keep-1):] {
		use, err := j.d.inUse(ctx, i)
		if err == nil && use != "" {
			j.say("%s: %s (%s) is older than the %d that are kept, and in use by %s", region, i.name, i.id, j.o.Keep, use)
			continue
		}
		if err == nil {
			err = j.d.deregister(ctx, i, true)
		}
		if hasCode(err, "OperationNotPermitted") {
			j.say("%s: %s (%s) is older than the %d that are kept, and protected", region, i.name, i.id, j.o.Keep)
			continue
		}
		if err == nil {
			j.say("%s: deregistered %s (%s)", region, i.name, i.id)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// inUse returns an instance or a launch template that uses an image, or "".
func (d *driver) inUse(ctx context.Context, i image) (string, error) {
	c, err := d.clients.ec2(ctx, i.region)
	if err != nil {
		return "", err
	}
	instances := ec2.NewDescribeInstancesPaginator(c, &ec2.DescribeInstancesInput{Filters: []types.Filter{filter("image-id", i.id)}})
	for instances.HasMorePages() {
		page, err := instances.NextPage(ctx)
		if err != nil {
			return "", fmt.Errorf("%s: look for instances of %s: %w", i.region, i.id, err)
		}
		for _, r := range page.Reservations {
			for _, in := range r.Instances {
				if in.State == nil || in.State.Name != types.InstanceStateNameTerminated {
					return aws.ToString(in.InstanceId), nil
				}
			}
		}
	}
	templates := ec2.NewDescribeLaunchTemplatesPaginator(c, &ec2.DescribeLaunchTemplatesInput{})
	for templates.HasMorePages() {
		page, err := templates.NextPage(ctx)
		if err != nil {
			return "", fmt.Errorf("%s: list the launch templates: %w", i.region, err)
		}
		for _, t := range page.LaunchTemplates {
			uses, err := templateUses(ctx, c, aws.ToString(t.LaunchTemplateId), i.id)
			if err != nil {
				return "", fmt.Errorf("%s: read the launch template %s: %w", i.region, aws.ToString(t.LaunchTemplateId), err)
			}
			if uses {
				return aws.ToString(t.LaunchTemplateId), nil
			}
		}
	}
	return "", nil
}

// templateUses reports whether a version of a launch template names the image.
func templateUses(ctx context.Context, c *ec2.Client, template, image string) (bool, error) {
	versions := ec2.NewDescribeLaunchTemplateVersionsPaginator(c, &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: &template})
	for versions.HasMorePages() {
		page, err := versions.NextPage(ctx)
		if err != nil {
			return false, err
		}
		for _, v := range page.LaunchTemplateVersions {
			if v.LaunchTemplateData != nil && aws.ToString(v.LaunchTemplateData.ImageId) == image {
				return true, nil
			}
		}
	}
	return false, nil
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
	images, err := d.ownImages(ctx, region, filter("block-device-mapping.snapshot-id", snapshot))
	if err != nil || len(images) == 0 {
		return "", err
	}
	return aws.ToString(images[0].ImageId), nil
}

// dropPatience is how long a snapshot may count as in use by an image that is gone.
const dropPatience = 2 * time.Minute

// dropSnapshot deletes a snapshot that no image is made of any more. For a while after
// the end of an image EBS may not know of that.
func (d *driver) dropSnapshot(ctx context.Context, region, id string) error {
	return d.wait(ctx, fmt.Sprintf("%s: delete the snapshot %s", region, id), dropPatience, func() (bool, error) {
		err := d.deleteSnapshot(ctx, region, id)
		if hasCode(err, "InvalidSnapshot.InUse") {
			return false, nil
		}
		return err == nil, err
	})
}
