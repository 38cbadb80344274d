package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/sync/errgroup"

	"bake.build/bake/platforms"
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
func (d *driver) base(ctx context.Context, region, ref string, out platforms.Sink) (*base, error) {
	if strings.HasPrefix(ref, "ami-") {
		return d.imageBase(ctx, region, ref)
	}
	out.Progress("wait for the snapshot "+ref, 0, 0)
	err := d.waitSnapshot(ctx, region, ref, d.unseen(ref))
	switch {
	case errors.Is(err, errSnapshotFailed):
		return nil, errors.Join(fmt.Errorf("%w: build again", err), d.deleteSnapshot(ctx, region, ref))
	case errors.Is(err, wait.ErrGone):
		return nil, fmt.Errorf("%w: build again", err)
	case err != nil:
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

// unseen is how often a layer may not be seen before it counts as gone. One that AWS
// told of was seen.
func (d *driver) unseen(ref string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.made[ref] {
		return unseenMost
	}
	return 0
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

// usedEvery is how often the use of a layer is noted, so that a busy one is not
// tagged by every build.
const usedEvery = 24 * time.Hour

// used notes that a layer is used, for who removes those that are not.
func (d *driver) used(ctx context.Context, b *base) error {
	if last, err := time.Parse(time.RFC3339, b.tags[tagUsed]); err == nil && time.Since(last) < usedEvery {
		return nil
	}
	c, err := d.clients.ec2(ctx, b.region)
	if err != nil {
		return err
	}
	_, err = c.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{b.id()}, Tags: ec2Tags(map[string]string{tagUsed: now()})})
	if err != nil {
		return fmt.Errorf("%s: note the use of %s: %w", b.region, b.id(), err)
	}
	return nil
}

func now() string { return time.Now().UTC().Format(time.RFC3339) }

// keysAtOnce is how many values a filter may have.
const keysAtOnce = 200

// FindLayers implements platforms.RemoteLayers: layers are found by their tags, whoever
// of the account has made them. Where two builds have made one at once, the first
// counts.
func (d *driver) FindLayers(ctx context.Context, keys []string) (map[string]platforms.Layer, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	region, err := d.clients.region(ctx)
	if err != nil {
		return nil, err
	}
	found, begun := map[string]platforms.Layer{}, map[string]string{}
	add := func(tags map[string]string, ref, at string) {
		if key := tags[tagKey]; key != "" && (begun[key] == "" || at < begun[key]) {
			found[key], begun[key] = platforms.Layer{Key: key, Ref: ref, Traits: parseFacts(tags[tagFacts]).traits()}, at
		}
	}
	for chunk := range slices.Chunk(keys, keysAtOnce) {
		var snapshots []types.Snapshot
		var images []types.Image
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() (err error) {
			snapshots, err = d.findSnapshots(ctx, region, filter("tag:"+tagKey, chunk...), filter("status", "pending", "completed"))
			return err
		})
		g.Go(func() (err error) {
			images, err = d.ownImages(ctx, region, filter("tag:"+tagKey, chunk...), filter("state", "pending", "available"))
			return err
		})
		if err := g.Wait(); err != nil {
			return nil, err
		}
		for _, s := range snapshots {
			add(tagsOf(s.Tags), aws.ToString(s.SnapshotId), aws.ToTime(s.StartTime).UTC().Format(time.RFC3339))
		}
		for _, i := range images {
			add(tagsOf(i.Tags), aws.ToString(i.ImageId), aws.ToString(i.CreationDate))
		}
	}
	return found, nil
}

// PruneLayers implements platforms.Pruner, in all regions.
func (d *driver) PruneLayers(ctx context.Context, p platforms.LayerPruning) ([]platforms.KeptLayer, error) {
	var pruned []platforms.KeptLayer
	err := d.everywhere(ctx, func(ctx context.Context, region string, add func(func())) error {
		list, err := d.keptIn(ctx, region)
		if err != nil {
			return err
		}
		var errs []error
		for _, l := range list {
			if !l.Made.Before(p.MadeBefore) && !l.Used.Before(p.UsedBefore) {
				continue
			}
			if !p.DryRun {
				err := d.dropLayer(ctx, region, l.Ref)
				if hasCode(err, "InvalidSnapshot.InUse") {
					continue // an image was made of it meanwhile
				}
				if err != nil {
					errs = append(errs, err)
					continue
				}
			}
			add(func() { pruned = append(pruned, l) })
		}
		return errors.Join(errs...)
	})
	slices.SortFunc(pruned, func(a, b platforms.KeptLayer) int {
		return cmp.Or(cmp.Compare(a.Place, b.Place), a.Made.Compare(b.Made), cmp.Compare(a.Ref, b.Ref))
	})
	return pruned, err
}

// expireLayers removes the project's layers in the platform's region that were not used
// for as long as layers_keep says.
func (d *driver) expireLayers(ctx context.Context) error {
	if d.options.LayersKeep == "" {
		return nil
	}
	keep, err := platforms.ParseDuration(d.options.LayersKeep)
	if err != nil {
		return err
	}
	region, err := d.clients.region(ctx)
	if err != nil {
		return err
	}
	list, err := d.keptIn(ctx, region, filter("tag:"+tagOurs, d.host.Ledger().Project()))
	errs := []error{err}
	for _, l := range list {
		if time.Since(l.Used) > keep {
			if err := d.dropLayer(ctx, region, l.Ref); !hasCode(err, "InvalidSnapshot.InUse") {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
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

// keptIn lists the layers in a region that no image is made of and that all filters
// fit.
func (d *driver) keptIn(ctx context.Context, region string, filters ...types.Filter) ([]platforms.KeptLayer, error) {
	snapshots, err := d.findSnapshots(ctx, region, append(filters, filter("tag-key", tagKey))...)
	if err != nil {
		return nil, err
	}
	images, err := d.ownImages(ctx, region)
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, ami := range images {
		for _, s := range imageOf(region, ami).snapshots {
			used[s] = true
		}
	}
	var list []platforms.KeptLayer
	add := func(ref string, tags map[string]string, made time.Time, gib int32) {
		l := platforms.KeptLayer{Ref: ref, Place: region, Name: tags["Name"], Size: int64(gib) << 30, Made: made, Used: made}
		if used, err := time.Parse(time.RFC3339, tags[tagUsed]); err == nil {
			l.Used = used
		}
		list = append(list, l)
	}
	for _, s := range snapshots {
		if used[aws.ToString(s.SnapshotId)] {
			continue // by an image, whose end is its own
		}
		add(aws.ToString(s.SnapshotId), tagsOf(s.Tags), aws.ToTime(s.StartTime), aws.ToInt32(s.VolumeSize))
	}
	layers := images
	if len(filters) > 0 {
		if layers, err = d.ownImages(ctx, region, filters...); err != nil {
			return nil, err
		}
	}
	for _, ami := range layers {
		if tagsOf(ami.Tags)[tagKey] == "" {
			continue
		}
		size := int32(0)
		for _, m := range ami.BlockDeviceMappings {
			if m.Ebs != nil {
				size += aws.ToInt32(m.Ebs.VolumeSize)
			}
		}
		add(aws.ToString(ami.ImageId), tagsOf(ami.Tags), imageOf(region, ami).created, size)
	}
	return list, nil
}

// Disk implements platforms.Disker: it reads the layer's snapshot.
func (d *driver) Disk(ctx context.Context, chain []platforms.Layer, dst string, out platforms.Sink) error {
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
