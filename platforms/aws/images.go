package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"bake.build/bake/platforms/publish"
	"bake.build/bake/platforms/remote"
	"bake.build/bake/platforms/wait"
)

// Tags of what bake makes.
const (
	tagOurs   = publish.Project
	tagName   = publish.Artifact
	tagImage  = publish.Identity // see Publication.imageKey
	tagBuild  = publish.Build
	tagReady  = publish.Ready
	tagToken  = "bake:token"  // what is made once is found by it
	tagShared = "bake:shared" // others may use, or could use, the snapshots
	tagOrigin = "bake:origin" // the AMI that the layers of an image began on
	tagBegun  = "bake:begun"  // the time, of what AWS keeps no time of
	tagKey    = remote.Key
	tagUsed   = remote.Used
	tagFacts  = "bake:facts" // of a layer that is a snapshot
)

// An image is an AMI with what is known of it.
type image struct {
	region, id, name string
	tags             map[string]string
	created          time.Time
	deprecated       time.Time // zero for never
	available        bool
	failed           string // why it will never be available, or ""
	snapshots        []string
}

// Facts implements publish.Image.
func (i image) Facts() publish.Facts {
	f := publish.Facts{ID: i.id, Name: i.name, Place: i.region, Created: i.created, Marks: i.tags, Why: i.failed}
	switch {
	case i.available:
		f.State = publish.Available
	case i.failed != "":
		f.State = publish.Failed
	}
	return f
}

func imageOf(region string, ami types.Image) image {
	i := image{
		region: region, id: aws.ToString(ami.ImageId), name: aws.ToString(ami.Name),
		tags: tagsOf(ami.Tags), available: ami.State == types.ImageStateAvailable,
	}
	i.created, _ = time.Parse(time.RFC3339, aws.ToString(ami.CreationDate))       // none counts as the oldest
	i.deprecated, _ = time.Parse(time.RFC3339, aws.ToString(ami.DeprecationTime)) // nor is one that is not set told
	switch ami.State {
	case types.ImageStateFailed, types.ImageStateError, types.ImageStateInvalid, types.ImageStateDeregistered:
		why := "no reason is given"
		if ami.StateReason != nil {
			why = aws.ToString(ami.StateReason.Message)
		}
		i.failed = fmt.Sprintf("AWS could not make it: it is in the state %s: %s", ami.State, why)
	}
	for _, m := range ami.BlockDeviceMappings {
		if m.Ebs != nil && m.Ebs.SnapshotId != nil {
			i.snapshots = append(i.snapshots, *m.Ebs.SnapshotId)
		}
	}
	return i
}

func tagsOf(list []types.Tag) map[string]string {
	tags := make(map[string]string, len(list))
	for _, t := range list {
		tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return tags
}

func ec2Tags(tags map[string]string) []types.Tag {
	var list []types.Tag
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, types.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	return list
}

func tagged(tags map[string]string, kinds ...types.ResourceType) []types.TagSpecification {
	var list []types.TagSpecification
	for _, k := range kinds {
		list = append(list, types.TagSpecification{ResourceType: k, Tags: ec2Tags(tags)})
	}
	return list
}

// ownImages returns the account's own images in a region that all filters fit.
func (d *driver) ownImages(ctx context.Context, region string, filters ...types.Filter) ([]types.Image, error) {
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return nil, err
	}
	list, err := listed(ctx, ec2.NewDescribeImagesPaginator(c, &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: filters}), func(p *ec2.DescribeImagesOutput) []types.Image { return p.Images })
	if err != nil {
		return nil, fmt.Errorf("%s: look for images: %w", region, err)
	}
	return list, nil
}

// findImages is ownImages, with what is of interest of artifacts.
func (d *driver) findImages(ctx context.Context, region string, filters ...types.Filter) ([]image, error) {
	found, err := d.ownImages(ctx, region, filters...)
	var list []image
	for _, ami := range found {
		list = append(list, imageOf(region, ami))
	}
	return list, err
}

// named returns the image of a name in a region, or nil.
func (d *driver) named(ctx context.Context, region, name string) (*image, error) {
	list, err := d.findImages(ctx, region, filter("name", name))
	if err != nil {
		return nil, err
	}
	for _, i := range list {
		if i.name == name {
			return &i, nil
		}
	}
	return nil, nil
}

// Times of waiting for AWS.
const (
	imageTimeout    = 2 * time.Hour // a copy to another region can take that long
	snapshotTimeout = time.Hour
	waitPauseMost   = 15 * time.Second
)

// unseenMost is how often something that was made just now may not be seen, which takes
// some minutes, before it counts as gone.
const unseenMost = 20

// waitImage waits until an image is available.
func (d *driver) waitImage(ctx context.Context, region, id string) (image, error) {
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return image{}, err
	}
	got := image{region: region, id: id}
	err = d.loop(fmt.Sprintf("%s: image %s", region, id), imageTimeout, unseenMost).Until(ctx, func(ctx context.Context) (bool, error) {
		out, err := c.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{id}})
		if hasCode(err, "InvalidAMIID.NotFound", "InvalidAMIID.Unavailable") || err == nil && len(out.Images) == 0 {
			return false, wait.ErrNotFound
		} else if err != nil {
			return false, err
		}
		got = imageOf(region, out.Images[0])
		if got.failed != "" {
			return false, errors.New(got.failed)
		}
		return got.available, nil
	})
	return got, err
}

// waitSnapshot waits until a snapshot is complete. It may be unseen so often.
func (d *driver) waitSnapshot(ctx context.Context, region, id string, unseen int) error {
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return err
	}
	return d.loop(fmt.Sprintf("%s: snapshot %s", region, id), snapshotTimeout, unseen).Until(ctx, func(ctx context.Context) (bool, error) {
		out, err := c.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
		if hasCode(err, "InvalidSnapshot.NotFound") || err == nil && len(out.Snapshots) == 0 {
			return false, wait.ErrNotFound
		} else if err != nil {
			return false, err
		}
		s := out.Snapshots[0]
		if s.State == types.SnapshotStateError {
			return false, fmt.Errorf("EBS: %w: %s", remote.ErrFailed, cmp.Or(aws.ToString(s.StateMessage), "no reason is given"))
		}
		return s.State == types.SnapshotStateCompleted, nil
	})
}

// loop asks AWS again and again, less and less often.
func (d *driver) loop(what string, timeout time.Duration, unseen int) wait.Loop {
	return wait.Loop{What: what, Timeout: timeout, Backoff: wait.Backoff{Next: d.pause, Most: waitPauseMost}, Unseen: unseen}
}

// hasCode reports whether AWS answered with one of the codes.
func hasCode(err error, codes ...string) bool {
	api := smithy.APIError(nil)
	return errors.As(err, &api) && slices.Contains(codes, api.ErrorCode())
}
