package aws

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"golang.org/x/sync/errgroup"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/publish"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/wait"
)

// maxRegions bounds how many regions are worked on at once.
const maxRegions = 16

// A job is one publication.
type job struct {
	d     *driver
	p     platforms.Publication
	o     Publication
	home  string            // the platform's own region
	on    map[string]string // tags by what the layer is made of
	place string            // what places begin with; an account's number and a slash, or ""
	image string            // hex; names what cannot be changed of the image once it is registered
	name  string            // of the image
	token string            // of the snapshot that was uploaded
	out   platforms.Logger
}

func (d *driver) job(ctx context.Context, p platforms.Publication, out platforms.Logger) (*job, error) {
	j := &job{d: d, p: p, out: out}
	if err := p.Decode(&j.o); err != nil {
		return nil, err
	}
	var err error
	if j.image, err = j.o.imageKey(p, d.host.Ledger().Project()); err != nil {
		return nil, err
	}
	j.name = j.o.imageName(p.Name, j.image)
	if j.home, err = d.clients.region(ctx); err != nil {
		return nil, err
	}
	for region := range j.o.KMSKeys {
		if !slices.Contains(j.regions(), region) {
			return nil, &platforms.OptionError{Err: fmt.Errorf("kms_keys: the image does not go to %s", region)}
		}
	}
	return j, nil
}

// regions returns where the image is to be, the platform's own region first.
func (j *job) regions() []string {
	list := []string{j.home}
	for _, r := range j.o.Regions {
		if !slices.Contains(list, r) {
			list = append(list, r)
		}
	}
	return list
}

func (j *job) tags() map[string]string {
	tags := map[string]string{"Name": j.name}
	maps.Copy(tags, j.on)
	maps.Copy(tags, j.d.options.Tags)
	maps.Copy(tags, j.o.ImageTags)
	maps.Copy(tags, map[string]string{tagName: j.p.Name, tagImage: j.image, tagBuild: j.d.host.Ledger().Build()})
	j.d.own(tags)
	return tags
}

// Published implements platforms.Publisher: one request a region.
func (d *driver) Published(ctx context.Context, p platforms.Publication) (found []platforms.Registered, why string, err error) {
	j, err := d.job(ctx, p, nil)
	if err != nil {
		return nil, "", err
	}
	return j.published(ctx)
}

// published is Published in the job's account and those that it copies to.
func (j *job) published(ctx context.Context) (found []platforms.Registered, why string, err error) {
	if found, why, err = j.life().Published(ctx); err != nil || why != "" {
		return nil, why, err
	}
	others, err := j.elsewhere(ctx)
	if err != nil {
		return nil, "", err
	}
	for _, other := range others {
		more, why, err := other.published(ctx)
		if err != nil || why != "" {
			return nil, why, err
		}
		found = append(found, more...)
	}
	return found, "", nil
}

// life is that of the job's image in its account.
func (j *job) life() *publish.Life[image] {
	return &publish.Life[image]{
		Images: j, Retainer: j, Places: j.regions(), Prefix: j.place, AtOnce: maxRegions,
		Name: j.name, Artifact: j.p.Name, Identity: j.image, Key: j.p.Key, Keep: j.o.Keep, Ledger: j.d.host.Ledger(), Say: j.say,
		Settings: j.settings(),
		Record: func(ctx context.Context, i image) (*resource.Record, error) {
			return j.d.Begin(ctx, kindImage, i.region, i.name)
		},
		Loop: func(what string) wait.Loop { return j.d.loop(what, imageTimeout, unseenMost) },
	}
}

// each calls do for all regions at once.
func (j *job) each(ctx context.Context, regions []string, do func(ctx context.Context, n int, region string) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxRegions)
	for n, region := range regions {
		g.Go(func() error { return do(ctx, n, region) })
	}
	return g.Wait()
}

// CheckPublish implements platforms.Publisher.
func (d *driver) CheckPublish(ctx context.Context, p platforms.Publication) error {
	j, err := d.job(ctx, p, nil)
	if err != nil {
		return err
	}
	if err := j.o.CheckProject(d.host.Ledger().Project()); err != nil {
		return err
	}
	state, err := d.regionStates(ctx, j.home)
	if err != nil {
		return err
	}
	for _, region := range j.regions() {
		if s, ok := state[region]; !ok {
			return fmt.Errorf("regions: AWS has no region %s", region)
		} else if s == notOptedIn {
			return fmt.Errorf("regions: the region %s is not enabled for this account", region)
		}
	}
	if _, err := j.life().Existing(ctx); err != nil {
		return err
	}
	for _, region := range slices.Sorted(maps.Keys(j.o.KMSKeys)) {
		if err := d.checkKey(ctx, region, j.o.KMSKeys[region]); err != nil {
			return fmt.Errorf("kms_keys: %w", err)
		}
	}
	if err := j.each(ctx, j.regions(), func(ctx context.Context, _ int, region string) error { return j.checkSharing(ctx, region) }); err != nil {
		return err
	}
	if err := j.dryRun(ctx); err != nil {
		return err
	}
	others, err := j.elsewhere(ctx)
	for _, other := range others {
		if err == nil {
			_, err = other.life().Existing(ctx)
		}
	}
	return err
}

// notOptedIn is the state of a region that the account has to enable first.
const notOptedIn = "not-opted-in"

// regionStates returns the state of each region that there is.
func (d *driver) regionStates(ctx context.Context, home string) (map[string]string, error) {
	c, err := d.clients.ec2(ctx, home)
	if err != nil {
		return nil, err
	}
	out, err := c.DescribeRegions(ctx, &ec2.DescribeRegionsInput{AllRegions: aws.Bool(true)})
	if err != nil {
		return nil, fmt.Errorf("%s: list the regions: %w", home, err)
	}
	state := map[string]string{}
	for _, r := range out.Regions {
		state[aws.ToString(r.RegionName)] = aws.ToString(r.OptInStatus)
	}
	return state, nil
}

// dryRun asks whether the account may do what will be done. Any other answer than
// that it may not is about the request, which names things that are made up.
func (j *job) dryRun(ctx context.Context) error {
	return j.each(ctx, j.regions(), func(ctx context.Context, _ int, region string) error {
		c, err := j.d.clients.ec2(ctx, region)
		if err != nil {
			return err
		}
		what := "register images"
		if region == j.home {
			in := j.registration("snap-00000000000000000", 1)
			in.DryRun = aws.Bool(true)
			_, err = c.RegisterImage(ctx, in)
		} else {
			what = "copy images"
			in := j.copying(region, image{region: j.home, id: "ami-00000000000000000"}, newToken())
			in.DryRun = aws.Bool(true)
			_, err = c.CopyImage(ctx, in)
		}
		if hasCode(err, "UnauthorizedOperation") {
			return fmt.Errorf("%s: these credentials may not %s: %w", region, what, err)
		}
		return nil
	})
}

// Publish implements platforms.Publisher. The snapshot of a layer is registered as it is;
// what has to be encrypted by another key, or is an AMI, is copied by AWS.
func (d *driver) Publish(ctx context.Context, p platforms.Publication, from platforms.ImageSource, out platforms.Logger) ([]platforms.Registered, error) {
	j, err := d.job(ctx, p, out)
	if err != nil {
		return nil, err
	}
	if from.Layer == "" {
		if len(j.o.OriginTags) > 0 {
			return nil, &platforms.OptionError{Err: errors.New("origin_tags: the layer does not begin on an AMI")}
		}
		return j.publish(ctx, func(ctx context.Context) (*publish.Held[image], error) { return j.make(ctx, from.Disk) })
	}
	b, err := d.base(ctx, j.home, from.Layer, out)
	if err == nil {
		err = j.takeTags(ctx, b)
	}
	if err != nil {
		return nil, err
	}
	return j.publish(ctx, func(ctx context.Context) (*publish.Held[image], error) { return j.ofLayer(ctx, b) })
}

// publish registers the image in all regions and accounts. first makes it in the
// platform's own region.
func (j *job) publish(ctx context.Context, first func(context.Context) (*publish.Held[image], error)) ([]platforms.Registered, error) {
	life := j.life()
	images, found, err := life.Publish(ctx, first)
	if err != nil {
		return nil, err
	}
	more, err := j.distribute(ctx, images)
	if err != nil {
		return nil, err
	}
	return append(found, more...), life.Retain(ctx, images)
}

func (j *job) say(format string, args ...any) {
	_, _ = fmt.Fprintf(j.out, format+"\n", args...) // the log keeps its own error
}
