package aws

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/sync/errgroup"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/remote"
	"bake.build/bake/platforms/wait"
)

// The reference of a layer is an AMI's id for an origin and for what is made of an
// AMI with product codes or licences, which only AMIs keep, and else that of a
// snapshot.

// A base is what a layer is on AWS.
type base struct {
	region   string
	ami      string // "" for a snapshot
	snapshot string // of the root volume
	gib      int32  // the size of the root volume
	facts
	encrypted bool
	kmsKey    string
	volumes   []string // the devices of further volumes of the AMI
	tags      map[string]string
}

// facts are what a machine needs to know of the AMI that its chain began with. A
// snapshot has them as a tag.
type facts struct {
	arch   string // as AWS names it
	boot   string // the boot mode; may be ""
	device string // of the root volume
	origin string // the AMI
	user   string // who to log in as
	codes  bool   // AWS bills more than the instance, such as a product of Marketplace, which only AMIs tell
}

func (f facts) String() string {
	return fmt.Sprintf("arch=%s boot=%s device=%s origin=%s user=%s", f.arch, f.boot, f.device, f.origin, f.user)
}

func parseFacts(text string) facts {
	values := map[string]string{}
	for word := range strings.FieldsSeq(text) {
		name, value, _ := strings.Cut(word, "=")
		values[name] = value
	}
	return facts{arch: values["arch"], boot: values["boot"], device: values["device"], origin: values["origin"], user: values["user"]}
}

// traits are what layers are that the facts hold for.
func (f facts) traits() platforms.Traits {
	t := platforms.Traits{Arch: f.arch}
	if f.arch == string(types.ArchitectureValuesX8664) {
		t.Arch = "amd64"
	}
	switch types.BootModeValues(f.boot) {
	case types.BootModeValuesUefi:
		t.Boot = "uefi"
	case types.BootModeValuesUefiPreferred:
		t.Boot = "bios+uefi"
	default: // as AWS starts what nobody said otherwise of
		if t.Boot = "bios"; t.Arch == "arm64" {
			t.Boot = "uefi"
		}
	}
	return t
}

// users are the users of distributions, by the beginning of their AMIs' names.
var users = []struct{ prefix, user string }{
	{"debian-", "admin"}, {"ubuntu", "ubuntu"}, {"fedora", "fedora"}, {"rocky", "rocky"}, {"bitnami", "bitnami"},
	{"centos", "centos"}, {"arch-linux", "arch"}, {"freebsd", "ec2-user"},
}

// userOf returns who an AMI lets log in.
func userOf(name string) string {
	name = strings.ToLower(name)
	for _, u := range users {
		if strings.HasPrefix(name, u.prefix) {
			return u.user
		}
	}
	return "ec2-user"
}

// base returns what a layer is, and waits for a snapshot that is being made.
func (d *driver) base(ctx context.Context, region, ref string, out platforms.Logger) (*base, error) {
	if strings.HasPrefix(ref, "ami-") {
		return d.imageBase(ctx, region, ref)
	}
	out.Progress("wait for the snapshot "+ref, 0, 0)
	err := d.Cache.Await(ctx, ref, unseenMost, func(ctx context.Context, unseen int) error {
		return d.waitSnapshot(ctx, region, ref, unseen)
	}, func(ctx context.Context) error { return d.deleteSnapshot(ctx, region, ref) })
	if err != nil {
		return nil, err
	}
	s, err := d.snapshot(ctx, region, ref)
	if err == nil && s == nil {
		err = fmt.Errorf("%s: snapshot %s: %w: build again", region, ref, wait.ErrGone)
	}
	if err != nil {
		return nil, err
	}
	b := &base{
		region: region, snapshot: ref, gib: aws.ToInt32(s.VolumeSize), facts: parseFacts(tagsOf(s.Tags)[tagFacts]),
		encrypted: aws.ToBool(s.Encrypted), kmsKey: aws.ToString(s.KmsKeyId), tags: tagsOf(s.Tags),
	}
	if b.device == "" || b.arch == "" {
		return nil, fmt.Errorf("%s: the snapshot %s is no layer of bake's: it has no tag %s", region, ref, tagFacts)
	}
	return b, d.used(ctx, b)
}

func (d *driver) imageBase(ctx context.Context, region, id string) (*base, error) {
	ami, err := d.ami(ctx, region, id)
	if err != nil {
		return nil, err
	}
	if ami == nil {
		return nil, fmt.Errorf("%s: there is no AMI %s any more, or this account may not use it", region, id)
	}
	b := baseOf(region, ami)
	if b.tags[tagKey] == "" {
		return b, nil
	}
	f := parseFacts(b.tags[tagFacts])
	b.user, b.origin = f.user, f.origin
	if _, err := d.waitImage(ctx, region, id); err != nil {
		return nil, err
	}
	return b, d.used(ctx, b)
}

// baseOf returns what an AMI is.
func baseOf(region string, ami *types.Image) *base {
	id := aws.ToString(ami.ImageId)
	b := &base{region: region, ami: id, tags: tagsOf(ami.Tags), facts: facts{
		arch: cmp.Or(string(ami.Architecture), string(types.ArchitectureValuesX8664)), boot: string(ami.BootMode), device: cmp.Or(aws.ToString(ami.RootDeviceName), "/dev/xvda"),
		origin: id, user: userOf(aws.ToString(ami.Name)),
		codes: len(ami.ProductCodes) > 0 || aws.ToString(ami.UsageOperation) != "" && *ami.UsageOperation != plainLinux,
	}}
	for _, m := range ami.BlockDeviceMappings {
		switch {
		case m.Ebs == nil:
		case aws.ToString(m.DeviceName) == b.device:
			b.snapshot, b.gib, b.encrypted = aws.ToString(m.Ebs.SnapshotId), aws.ToInt32(m.Ebs.VolumeSize), aws.ToBool(m.Ebs.Encrypted)
		default:
			b.volumes = append(b.volumes, aws.ToString(m.DeviceName))
		}
	}
	return b
}

// plainLinux is the operation of instances whose system costs nothing.
const plainLinux = "RunInstances"

func (b *base) id() string { return cmp.Or(b.ami, b.snapshot) }

// used notes that a layer is used, for who removes those that are not.
func (d *driver) used(ctx context.Context, b *base) error {
	return d.Cache.Use(ctx, layerOf(b.region, b.id(), b.tags, time.Time{}, b.gib))
}

func now() string { return time.Now().UTC().Format(time.RFC3339) }

// keysAtOnce is how many values a filter may have.
const keysAtOnce = 200

// layers are the layers of an account, by region.
type layers struct{ d *driver }

var _ remote.Layers = layers{}

// layerOf is a snapshot or an AMI as a layer.
func layerOf(region, ref string, tags map[string]string, made time.Time, gib int32) remote.Layer {
	l := remote.Layer{
		Layer: platforms.Layer{Key: tags[tagKey], Ref: ref, Traits: parseFacts(tags[tagFacts]).traits()},
		Place: region, Name: tags["Name"], Size: int64(gib) << 30, Made: made,
	}
	l.Used, _ = time.Parse(remote.Time, tags[tagUsed]) // none is as long ago as it was made
	return l
}

func layerOfSnapshot(region string, s types.Snapshot) remote.Layer {
	return layerOf(region, aws.ToString(s.SnapshotId), tagsOf(s.Tags), aws.ToTime(s.StartTime), aws.ToInt32(s.VolumeSize))
}

func layerOfImage(region string, ami types.Image) remote.Layer {
	size := int32(0)
	for _, m := range ami.BlockDeviceMappings {
		if m.Ebs != nil {
			size += aws.ToInt32(m.Ebs.VolumeSize)
		}
	}
	return layerOf(region, aws.ToString(ami.ImageId), tagsOf(ami.Tags), imageOf(region, ami).created, size)
}

// Find implements remote.Layers.
func (l layers) Find(ctx context.Context, region string, keys []string) (list []remote.Layer, err error) {
	var snapshots []types.Snapshot
	var images []types.Image
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		snapshots, err = l.d.findSnapshots(ctx, region, filter("tag:"+tagKey, keys...), filter("status", "pending", "completed"))
		return err
	})
	g.Go(func() (err error) {
		images, err = l.d.ownImages(ctx, region, filter("tag:"+tagKey, keys...), filter("state", "pending", "available"))
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, s := range snapshots {
		list = append(list, layerOfSnapshot(region, s))
	}
	for _, ami := range images {
		list = append(list, layerOfImage(region, ami))
	}
	return list, nil
}

// Touch implements remote.Layers.
func (l layers) Touch(ctx context.Context, layer remote.Layer, at time.Time) error {
	c, err := l.d.clients.ec2(ctx, layer.Place)
	if err != nil {
		return err
	}
	_, err = c.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{layer.Ref}, Tags: ec2Tags(map[string]string{tagUsed: at.UTC().Format(remote.Time)})})
	if err != nil {
		return fmt.Errorf("%s: note the use of %s: %w", layer.Place, layer.Ref, err)
	}
	return nil
}

// Delete implements remote.Layers.
func (l layers) Delete(ctx context.Context, layer remote.Layer) error {
	err := l.d.dropLayer(ctx, layer.Place, layer.Ref)
	if hasCode(err, "InvalidSnapshot.InUse") {
		return fmt.Errorf("%w: %w", remote.ErrInUse, err) // an image was made of it meanwhile
	}
	return err
}

// dropLayer removes a layer.
func (d *driver) dropLayer(ctx context.Context, region, ref string) error {
	if !strings.HasPrefix(ref, "ami-") {
		return d.deleteSnapshot(ctx, region, ref)
	}
	ami, err := d.ami(ctx, region, ref)
	if err != nil || ami == nil {
		return err
	}
	return d.deregister(ctx, imageOf(region, *ami), true)
}

// Unused implements remote.Layers.
func (l layers) Unused(ctx context.Context, region, project string) (list []remote.Layer, err error) {
	var filters []types.Filter
	if project != "" {
		filters = append(filters, filter("tag:"+tagOurs, project))
	}
	snapshots, err := l.d.findSnapshots(ctx, region, append(filters, filter("tag-key", tagKey))...)
	if err != nil {
		return nil, err
	}
	images, err := l.d.ownImages(ctx, region)
	if err != nil {
		return nil, err
	}
	used := map[string]bool{} // by an image, whose end is its own
	for _, ami := range images {
		for _, s := range imageOf(region, ami).snapshots {
			used[s] = true
		}
		if tags := tagsOf(ami.Tags); tags[tagKey] != "" && (project == "" || tags[tagOurs] == project) {
			list = append(list, layerOfImage(region, ami))
		}
	}
	for _, s := range snapshots {
		if !used[aws.ToString(s.SnapshotId)] {
			list = append(list, layerOfSnapshot(region, s))
		}
	}
	return list, nil
}

// Disk implements platforms.Disker: it reads the layer's snapshot.
func (d *driver) Disk(ctx context.Context, chain []platforms.Layer, dst string, out platforms.Logger) error {
	region, err := d.clients.region(ctx)
	if err != nil {
		return err
	}
	b, err := d.base(ctx, region, chain[len(chain)-1].Ref, out)
	if err != nil {
		return err
	}
	return d.download(ctx, region, b.snapshot, dst, out)
}
