package aws

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/aws/ebs"
)

// Pull implements platforms.Puller: it reads the root device's snapshot of an AMI
// in the platform's region.
func (d *driver) Pull(ctx context.Context, image, dst string, out platforms.Logger) error {
	region, err := d.clients.region(ctx)
	if err != nil {
		return err
	}
	snapshot, err := d.rootSnapshot(ctx, region, image)
	if err != nil {
		return fmt.Errorf("%s: %w", region, err)
	}
	return d.download(ctx, region, snapshot, dst, out)
}

// download writes the volume of a snapshot to the new file dst, as a raw image with
// holes.
func (d *driver) download(ctx context.Context, region, snapshot, dst string, out platforms.Logger) (err error) {
	client, err := d.clients.ebs(ctx, region)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	down := &ebs.Download{
		API: client, Snapshot: snapshot,
		Progress: func(done, total int64) { out.Progress(snapshot, done, total) },
	}
	size, err := down.Run(ctx, f)
	if err != nil {
		return fmt.Errorf("%s: %w", region, err)
	}
	return f.Truncate(size)
}

// rootSnapshot returns the snapshot of an image's root device.
func (d *driver) rootSnapshot(ctx context.Context, region, image string) (string, error) {
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return "", err
	}
	out, err := c.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{image}})
	if hasCode(err, "InvalidAMIID.NotFound", "InvalidAMIID.Malformed") || err == nil && len(out.Images) == 0 {
		return "", fmt.Errorf("there is no image %s", image)
	} else if err != nil {
		return "", fmt.Errorf("look for the image %s: %w", image, err)
	}
	ami := out.Images[0]
	for _, m := range ami.BlockDeviceMappings {
		if aws.ToString(m.DeviceName) == aws.ToString(ami.RootDeviceName) && m.Ebs != nil && m.Ebs.SnapshotId != nil {
			return *m.Ebs.SnapshotId, nil
		}
	}
	return "", fmt.Errorf("the image %s has no snapshot of its root device", image)
}
