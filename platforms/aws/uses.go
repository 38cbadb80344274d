package aws

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	scaling "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// uses are what names images in a region, by the image. In doubt an image is in use.
type uses map[string]string

func (u uses) add(image *string, by string) {
	if id := aws.ToString(image); id != "" && u[id] == "" {
		u[id] = by
	}
}

// uses finds what may launch instances of the account's images some time.
func (d *driver) uses(ctx context.Context, region string) (uses, error) {
	u := uses{}
	for what, look := range map[string]func(context.Context, string, uses) error{
		"instances": d.instanceUses, "launch templates": d.templateUses, "launch configurations": d.configurationUses,
		"fleets": d.fleetUses, "spot fleets": d.spotFleetUses,
	} {
		if err := look(ctx, region, u); err != nil {
			return nil, fmt.Errorf("%s: look for images in %s: %w", region, what, err)
		}
	}
	return u, nil
}

func (d *driver) instanceUses(ctx context.Context, region string, u uses) error {
	list, err := d.findInstances(ctx, region)
	for _, i := range list {
		u.add(i.ImageId, aws.ToString(i.InstanceId))
	}
	return err
}

// templateUses looks at all versions of all launch templates.
func (d *driver) templateUses(ctx context.Context, region string, u uses) error {
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return err
	}
	list, err := listed(ctx, ec2.NewDescribeLaunchTemplatesPaginator(c, &ec2.DescribeLaunchTemplatesInput{}),
		func(p *ec2.DescribeLaunchTemplatesOutput) []types.LaunchTemplate { return p.LaunchTemplates })
	if err != nil {
		return err
	}
	for _, t := range list {
		id := aws.ToString(t.LaunchTemplateId)
		versions, err := listed(ctx, ec2.NewDescribeLaunchTemplateVersionsPaginator(c, &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: &id}),
			func(p *ec2.DescribeLaunchTemplateVersionsOutput) []types.LaunchTemplateVersion {
				return p.LaunchTemplateVersions
			})
		if err != nil {
			return err
		}
		for _, v := range versions {
			if v.LaunchTemplateData == nil {
				continue
			}
			image, err := d.templateImage(ctx, region, aws.ToString(v.LaunchTemplateData.ImageId))
			if err != nil {
				return fmt.Errorf("%s: %w", id, err)
			}
			u.add(&image, id)
		}
	}
	return nil
}

// templateImage returns the image that a launch template names, which may do so by an
// SSM parameter.
func (d *driver) templateImage(ctx context.Context, region, text string) (string, error) {
	name, byParameter := strings.CutPrefix(text, "resolve:ssm:")
	if !byParameter {
		return text, nil
	}
	id, err := d.parameter(ctx, region, name)
	if hasCode(err, "ParameterNotFound", "ParameterVersionNotFound") || errors.Is(err, errNoImage) {
		return "", nil
	}
	return id, err
}

func (d *driver) configurationUses(ctx context.Context, region string, u uses) error {
	c, err := d.clients.autoscaling(ctx, region)
	if err != nil {
		return err
	}
	list, err := listed(ctx, autoscaling.NewDescribeLaunchConfigurationsPaginator(c, &autoscaling.DescribeLaunchConfigurationsInput{}),
		func(p *autoscaling.DescribeLaunchConfigurationsOutput) []scaling.LaunchConfiguration {
			return p.LaunchConfigurations
		})
	for _, l := range list {
		u.add(l.ImageId, "the launch configuration "+aws.ToString(l.LaunchConfigurationName))
	}
	return err
}

func (d *driver) fleetUses(ctx context.Context, region string, u uses) error {
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return err
	}
	list, err := listed(ctx, ec2.NewDescribeFleetsPaginator(c, &ec2.DescribeFleetsInput{}), func(p *ec2.DescribeFleetsOutput) []types.FleetData { return p.Fleets })
	for _, f := range list {
		if f.FleetState == types.FleetStateCodeDeleted {
			continue
		}
		for _, t := range f.LaunchTemplateConfigs {
			for _, o := range t.Overrides {
				u.add(o.ImageId, aws.ToString(f.FleetId))
			}
		}
	}
	return err
}

func (d *driver) spotFleetUses(ctx context.Context, region string, u uses) error {
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return err
	}
	list, err := listed(ctx, ec2.NewDescribeSpotFleetRequestsPaginator(c, &ec2.DescribeSpotFleetRequestsInput{}),
		func(p *ec2.DescribeSpotFleetRequestsOutput) []types.SpotFleetRequestConfig {
			return p.SpotFleetRequestConfigs
		})
	for _, r := range list {
		if r.SpotFleetRequestConfig == nil || r.SpotFleetRequestState == types.BatchStateCancelled {
			continue
		}
		for _, l := range r.SpotFleetRequestConfig.LaunchSpecifications {
			u.add(l.ImageId, aws.ToString(r.SpotFleetRequestId))
		}
	}
	return err
}

// sharedUse returns with whom an image of this account, or its snapshots, are shared:
// what those do with it cannot be seen. It is "" for nobody.
func (j *job) sharedUse(ctx context.Context, i image) (string, error) {
	if j.o.RetireShared {
		return "", nil
	}
	c, err := j.d.clients.ec2(ctx, i.region)
	if err != nil {
		return "", err
	}
	out, err := c.DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{ImageId: &i.id, Attribute: types.ImageAttributeNameLaunchPermission})
	if err != nil {
		return "", fmt.Errorf("%s: %s: find out who may launch it: %w", i.region, i.id, err)
	}
	who := granted(out.LaunchPermissions)
	if i.tags[tagShared] != "" {
		who = append(who, "users of its snapshots")
	}
	if len(who) == 0 {
		return "", nil
	}
	return strings.Join(who, ", ") + ", it is shared with them (retire_shared = True removes it all the same)", nil
}

// Retire implements publish.Retainer.
func (j *job) Retire(ctx context.Context, region string, old []image, why string) error {
	used, err := j.d.uses(ctx, region)
	if denied(err) {
		j.say("%s: %d images are %s, and left alone: these credentials may not see what uses them: %v", region, len(old), why, err)
		return nil
	} else if err != nil {
		return err
	}
	var errs []error
	for _, i := range old {
		errs = append(errs, j.retireOne(ctx, i, why, used[i.id]))
	}
	return errors.Join(errs...)
}

// retireOne deregisters an image unless something uses it.
func (j *job) retireOne(ctx context.Context, i image, why, use string) (err error) {
	if use == "" {
		if use, err = j.sharedUse(ctx, i); err != nil {
			return err
		}
	}
	if use != "" {
		j.say("%s: %s (%s) is %s, and in use by %s", i.region, i.name, i.id, why, use)
		return nil
	}
	forget, err := j.d.recordSnapshots(ctx, i)
	if err != nil {
		return err
	}
	err = j.d.deregister(ctx, i, true)
	switch {
	case hasCode(err, "OperationNotPermitted"):
		j.say("%s: %s (%s) is %s, and protected", i.region, i.name, i.id, why)
		return forget()
	case err != nil:
		return err
	}
	j.say("%s: deregistered %s (%s)", i.region, i.name, i.id)
	return forget()
}

// recordSnapshots records the snapshots of an image that is about to go: without it
// nothing else would lead to them.
func (d *driver) recordSnapshots(ctx context.Context, i image) (forget func() error, err error) {
	token := newToken()
	if len(i.snapshots) == 0 {
		return func() error { return nil }, nil
	}
	record, err := d.Begin(ctx, kindSnapshot, i.region, token)
	if err != nil {
		return nil, err
	}
	c, err := d.clients.ec2(ctx, i.region)
	if err == nil {
		_, err = c.CreateTags(ctx, &ec2.CreateTagsInput{Resources: i.snapshots, Tags: ec2Tags(map[string]string{tagToken: token})})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: mark the snapshots of %s: %w", i.region, i.id, err), record.Forget())
	}
	return record.Forget, nil
}
