package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/publish"
)

// takeTags has the image bear the AMI that its layers began on, and such tags of it as
// the definition wants.
func (j *job) takeTags(ctx context.Context, b *base) error {
	j.on = map[string]string{tagOrigin: b.origin}
	if len(j.o.OriginTags) == 0 {
		return nil
	}
	ami, err := j.d.ami(ctx, b.region, b.origin)
	if err != nil {
		return err
	}
	if ami == nil {
		return fmt.Errorf("origin_tags: %s: the AMI %s, which the layers began on, is not there any more", b.region, b.origin)
	}
	tags := tagsOf(ami.Tags)
	for _, name := range j.o.OriginTags {
		value, has := tags[name]
		switch {
		case name == "*":
			for k, v := range tags {
				if k != "Name" && checkTags("", map[string]string{k: v}) == nil {
					j.on[k] = v
				}
			}
		case !has:
			return &platforms.OptionError{Err: fmt.Errorf("origin_tags: %s has no tag %q that this account sees", b.origin, name)}
		default:
			j.on[name] = value
		}
	}
	return nil
}

// ofLayer makes the image from a layer.
func (j *job) ofLayer(ctx context.Context, b *base) (_ *publish.Held[image], err error) {
	if b.ami != "" {
		return j.ofImage(ctx, b)
	}
	size, err := j.o.volumeGiB(int64(b.gib) << 30)
	if err != nil {
		return nil, &platforms.OptionError{Err: err}
	}
	in := j.registration(b.snapshot, size)
	in.Architecture = types.ArchitectureValues(b.arch)
	in.BootMode = types.BootModeValues(cmp.Or(j.o.BootMode, b.boot))
	device := cmp.Or(j.o.RootDevice, b.device)
	in.RootDeviceName, in.BlockDeviceMappings[0].DeviceName = &device, &device
	e, err := j.encryption(ctx, j.home)
	if err != nil {
		return nil, err
	}
	if e.is(b.encrypted, b.kmsKey) || !e.on {
		return j.register(ctx, in)
	}
	from, drop, err := j.d.launchable(ctx, b, in)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, drop(context.WithoutCancel(ctx))) }()
	return j.copyTo(ctx, j.home, image{region: j.home, id: from})
}

// ofImage makes the image from a layer that is an AMI, whose product codes only a
// copy keeps.
func (j *job) ofImage(ctx context.Context, b *base) (*publish.Held[image], error) {
	if what := j.notCopied(); what != "" {
		return nil, &platforms.OptionError{Err: fmt.Errorf("%s: the image is a copy of %s, which keeps its product codes and volumes and says that itself", what, b.ami)}
	}
	i, err := j.copyTo(ctx, j.home, image{region: j.home, id: b.ami})
	if err != nil || j.o.IMDSv1 {
		return i, err
	}
	c, err := j.d.clients.ec2(ctx, j.home)
	if err != nil {
		return nil, err
	}
	_, err = c.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{ImageId: &i.Image.id, ImdsSupport: &types.AttributeValue{Value: aws.String(string(types.ImdsSupportValuesV20))}})
	if err != nil {
		return nil, fmt.Errorf("%s: %s: require version 2 of the metadata service: %w", j.home, i.Image.id, err)
	}
	return i, nil
}

// notCopied returns an option that a copy cannot have, or "".
func (j *job) notCopied() string {
	for _, o := range []struct {
		name  string
		given bool
	}{
		{"boot_mode", j.o.BootMode != ""}, {"root_device", j.o.RootDevice != ""}, {"volume_size", j.o.VolumeSize != ""}, {"volume_type", j.o.VolumeType != ""},
		{"iops", j.o.IOPS > 0}, {"throughput", j.o.Throughput > 0}, {"tpm", j.o.TPM}, {"volumes", len(j.o.Volumes) > 0}, {"uefi_data", j.o.UEFIData != ""},
	} {
		if o.given {
			return o.name
		}
	}
	return ""
}
