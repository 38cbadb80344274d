package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/publish"
	"bake.build/bake/platforms/resource"
)

// make makes the image from the disk.
func (j *job) make(ctx context.Context, disk string) (*publish.Held[image], error) {
	info, err := os.Stat(disk)
	if err != nil {
		return nil, err
	}
	size, err := j.o.volumeGiB(info.Size())
	if err != nil {
		return nil, &platforms.OptionError{Err: err}
	}
	snapshot, record, err := j.upload(ctx, disk, info.Size())
	if err != nil {
		return nil, err
	}
	i, err := j.register(ctx, j.registration(snapshot, size))
	switch {
	case err == nil && slices.Contains(i.Image.snapshots, snapshot):
		return i, record.Forget()
	case err != nil && (!refused(err) || ctx.Err() != nil):
		return nil, err // it may be of an image after all
	}
	// Nothing is made of it: AWS has refused that, or another build was first.
	if got, drop := j.d.removeSnapshots(context.WithoutCancel(ctx), j.home, j.token); drop != nil || !got.Removed {
		return i, errors.Join(err, drop) // the record stays
	}
	return i, errors.Join(err, record.Forget())
}

// register makes the image, or takes over that of another build which was first.
func (j *job) register(ctx context.Context, in *ec2.RegisterImageInput) (*publish.Held[image], error) {
	c, err := j.d.clients.ec2(ctx, j.home)
	if err != nil {
		return nil, err
	}
	record, err := j.d.Begin(ctx, kindImage, j.home, j.name)
	if err != nil {
		return nil, err
	}
	var t tries
	out, err := c.RegisterImage(ctx, in, t.watch, fresh)
	if err != nil {
		return j.life().Created(ctx, j.home, "", record, j.asked(&t, fmt.Errorf("%s: register the image: %w", j.home, err)))
	}
	j.say("%s: registered %s as %s", j.home, j.name, aws.ToString(out.ImageId))
	return j.life().Created(ctx, j.home, aws.ToString(out.ImageId), record, nil)
}

// asked says of the failure of a request for an image what is to be made of it.
func (j *job) asked(t *tries, err error) error {
	if hasCode(err, "InvalidAMIName.Duplicate") {
		err = fmt.Errorf("%w: %w", publish.ErrTaken, err)
	}
	return t.judge(err)
}

// registration is the request that registers a snapshot.
func (j *job) registration(snapshot string, size int32) *ec2.RegisterImageInput {
	device := cmp.Or(j.o.RootDevice, "/dev/xvda")
	volume := &types.EbsBlockDevice{
		SnapshotId: aws.String(snapshot), VolumeSize: aws.Int32(size), DeleteOnTermination: aws.Bool(true), VolumeType: types.VolumeTypeGp3,
	}
	if j.o.VolumeType != "" {
		volume.VolumeType = types.VolumeType(j.o.VolumeType)
	}
	if j.o.IOPS > 0 {
		volume.Iops = aws.Int32(int32(j.o.IOPS))
	}
	if j.o.Throughput > 0 {
		volume.Throughput = aws.Int32(int32(j.o.Throughput))
	}
	further, _ := parseVolumes(j.o.Volumes) // which were checked
	in := &ec2.RegisterImageInput{
		Name:                aws.String(j.name),
		Architecture:        types.ArchitectureValuesX8664,
		RootDeviceName:      aws.String(device),
		BlockDeviceMappings: append([]types.BlockDeviceMapping{{DeviceName: aws.String(device), Ebs: volume}}, further...),
		VirtualizationType:  aws.String("hvm"),
		EnaSupport:          aws.Bool(true),
		BootMode:            j.bootMode(),
		TagSpecifications:   tagged(j.tags(), types.ResourceTypeImage),
	}
	if j.p.Arch == "arm64" {
		in.Architecture = types.ArchitectureValuesArm64
	}
	if j.o.Description != "" {
		in.Description = aws.String(j.o.Description)
	}
	if j.o.UEFIData != "" {
		in.UefiData = aws.String(j.o.UEFIData)
	}
	if j.o.TPM {
		in.TpmSupport = types.TpmSupportValuesV20
	}
	if !j.o.IMDSv1 {
		in.ImdsSupport = types.ImdsSupportValuesV20
	}
	return in
}

// bootMode returns how instances boot; "" leaves that to AWS, which is right for a
// disk of which nobody said how it boots.
func (j *job) bootMode() types.BootModeValues {
	switch {
	case j.o.BootMode != "":
		return types.BootModeValues(j.o.BootMode)
	case j.p.Arch == "arm64" || j.p.Boot == "uefi":
		return types.BootModeValuesUefi
	case j.p.Boot == "bios":
		return types.BootModeValuesLegacyBios
	case j.p.Boot == "bios+uefi":
		return types.BootModeValuesUefiPreferred
	}
	return ""
}

// copiesAtOnce is how many copies into one region AWS makes at once for an account.
const copiesAtOnce = 20

// slot waits for a turn to copy into a region.
func (d *driver) slot(ctx context.Context, region string) (free func(), err error) {
	d.mu.Lock()
	slots := d.copies[region]
	if slots == nil {
		slots = make(chan struct{}, copiesAtOnce)
		d.copies[region] = slots
	}
	d.mu.Unlock()
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// copyTo has AWS copy an image to a region, under the image's name, and waits for it.
func (j *job) copyTo(ctx context.Context, region string, from image) (*publish.Held[image], error) {
	id, record, err := j.Copy(ctx, from, region)
	return j.life().Created(ctx, region, id, record, err)
}

// Copy implements publish.Images.
func (j *job) Copy(ctx context.Context, from image, region string) (id string, record *resource.Record, err error) {
	free, err := j.d.slot(ctx, region)
	if err != nil {
		return "", nil, err
	}
	defer free()
	c, err := j.d.clients.ec2(ctx, region)
	if err != nil {
		return "", nil, err
	}
	token := newToken()
	if record, err = j.record(ctx, region, token); err != nil {
		return "", nil, err
	}
	in := j.copying(region, from, token)
	var t tries
	err = j.d.loop(region+": copy the image", imageTimeout, 0).Until(ctx, func(ctx context.Context) (bool, error) {
		out, err := c.CopyImage(ctx, in, t.watch, fresh)
		if hasCode(err, "ResourceLimitExceeded", "ConcurrentSnapshotLimitExceeded") {
			j.say("%s: waiting for other copies to end: %v", region, err)
			return false, nil
		} else if err != nil {
			return false, err
		}
		id = aws.ToString(out.ImageId)
		return true, nil
	})
	if err != nil {
		return "", record, j.asked(&t, err)
	}
	j.say("%s: %s is copied to %s", region, from.id, id)
	return id, record, nil
}

// record begins the record of a copy, with that of its snapshots: AWS makes them some
// time after the image, and they stay when that goes.
func (j *job) record(ctx context.Context, region, token string) (*resource.Record, error) {
	snapshot, err := j.d.Begin(ctx, kindSnapshot, region, token)
	if err != nil {
		return nil, err
	}
	image, err := j.d.Begin(ctx, kindImage, region, j.name)
	if err != nil {
		return nil, errors.Join(err, snapshot.Forget())
	}
	return image.With(snapshot), nil
}

// copying is the request that copies the image to another region.
func (j *job) copying(region string, from image, token string) *ec2.CopyImageInput {
	ofSnapshot := j.tags()
	ofSnapshot[tagToken] = token
	in := &ec2.CopyImageInput{
		Name: aws.String(j.name), SourceImageId: aws.String(from.id), SourceRegion: aws.String(from.region),
		ClientToken:       aws.String(token),
		TagSpecifications: append(tagged(j.tags(), types.ResourceTypeImage), tagged(ofSnapshot, types.ResourceTypeSnapshot)...),
	}
	if j.o.Description != "" {
		in.Description = aws.String(j.o.Description)
	}
	if key := j.o.KMSKeys[region]; key != "" {
		in.Encrypted, in.KmsKeyId = aws.Bool(true), aws.String(key)
	} else if j.o.Encrypted || len(j.o.KMSKeys) > 0 {
		in.Encrypted = aws.Bool(true)
	}
	return in
}
