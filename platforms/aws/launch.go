package aws

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/wait"
)

func newToken() string { return strings.ToLower(rand.Text()) }

// tags are those of what is made for a build.
func (d *driver) tags(name, token string) map[string]string {
	tags := map[string]string{"Name": name}
	maps.Copy(tags, d.options.Tags)
	maps.Copy(tags, map[string]string{tagBuild: d.host.Ledger().Build(), tagToken: token, tagBegun: now()})
	d.own(tags)
	return tags
}

// own says in tags which project something belongs to.
func (d *driver) own(tags map[string]string) {
	if p := d.host.Ledger().Project(); p != "" {
		tags[tagOurs] = p
	}
}

// Boot implements platforms.Driver: it launches an instance on the last layer.
func (d *driver) Boot(ctx context.Context, chain []platforms.Layer, out platforms.Logger) (_ platforms.Machine, err error) {
	region, err := d.clients.region(ctx)
	if err != nil {
		return nil, err
	}
	b, err := d.base(ctx, region, chain[len(chain)-1].Ref, out)
	if err != nil {
		return nil, err
	}
	if err := d.mayLaunch(ctx, b); err != nil {
		return nil, err
	}
	p, err := d.place(ctx)
	if err != nil {
		return nil, err
	}
	ami, drop, err := d.launchable(ctx, b, b.registration())
	if err != nil {
		return nil, err
	}
	m, err := d.launch(ctx, b, p, ami, out)
	// A running instance needs its image no more.
	if err = errors.Join(err, drop(context.WithoutCancel(ctx))); err == nil {
		err = m.enter(ctx, out)
	}
	if err != nil {
		if m != nil {
			err = errors.Join(err, m.End())
		}
		return nil, err
	}
	return m, nil
}

// launchable returns an AMI of a layer: of a snapshot it is one that is registered
// by a request, and that drop removes.
func (d *driver) launchable(ctx context.Context, b *base, in *ec2.RegisterImageInput) (ami string, drop func(context.Context) error, err error) {
	if b.ami != "" {
		return b.ami, func(context.Context) error { return nil }, nil
	}
	c, err := d.clients.ec2(ctx, b.region)
	if err != nil {
		return "", nil, err
	}
	token := newToken()
	name := "bake-" + token
	in.Name, in.TagSpecifications = aws.String(name), tagged(d.tags(name, token), types.ResourceTypeImage)
	id, record, err := ask(ctx, d, kindLaunch, b.region, name, func(t *tries) (string, error) {
		out, err := c.RegisterImage(ctx, in, t.watch, fresh)
		if err == nil {
			return aws.ToString(out.ImageId), nil
		}
		return d.registered(ctx, b.region, name, err)
	})
	if err != nil {
		return "", nil, fmt.Errorf("%s: register the snapshot %s to launch it: %w", b.region, b.snapshot, err)
	}
	drop = func(ctx context.Context) error {
		return record.Remove(ctx, func(ctx context.Context) error { return d.deregister(ctx, image{region: b.region, id: id}, false) })
	}
	if _, err := d.waitImage(ctx, b.region, id); err != nil {
		return "", nil, errors.Join(err, drop(context.WithoutCancel(ctx)))
	}
	return id, drop, nil
}

// registered returns, after a failure, the id of the image of a name that nobody else
// can have given: a try whose answer was lost has made it.
func (d *driver) registered(ctx context.Context, region, name string, failure error) (id string, err error) {
	if !hasCode(failure, "InvalidAMIName.Duplicate") {
		return "", failure
	}
	i, err := d.named(ctx, region, name)
	if err != nil || i == nil {
		return "", errors.Join(failure, err)
	}
	return i.id, nil
}

// registration is the request that makes an AMI of a layer that is a snapshot.
func (b *base) registration() *ec2.RegisterImageInput {
	return &ec2.RegisterImageInput{
		Architecture: types.ArchitectureValues(b.arch), RootDeviceName: aws.String(b.device),
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String(b.device), Ebs: &types.EbsBlockDevice{
			SnapshotId: aws.String(b.snapshot), DeleteOnTermination: aws.Bool(true), VolumeType: types.VolumeTypeGp3,
		}}},
		VirtualizationType: aws.String("hvm"), EnaSupport: aws.Bool(true), BootMode: types.BootModeValues(b.boot),
	}
}

// noCapacity are the answers after which another type or subnet is tried.
var noCapacity = []string{
	"InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientReservedInstanceCapacity", "InsufficientFreeAddressesInSubnet",
	"SpotMaxPriceTooLow", "UnfulfillableCapacity", "Unsupported",
}

// launch starts an instance of an image and waits until it runs.
func (d *driver) launch(ctx context.Context, b *base, p *place, ami string, out platforms.Logger) (*machine, error) {
	c, err := d.clients.ec2(ctx, b.region)
	if err != nil {
		return nil, err
	}
	m := &machine{d: d, base: *b, token: newToken(), logger: out}
	if m.record, err = d.Begin(ctx, kindInstance, b.region, m.token); err != nil {
		return nil, err
	}
	var errs []error
	for _, kind := range d.instanceTypes(b.arch) {
		for _, subnet := range p.subnets {
			in, err := d.instanceRequest(b, p, ami, m.token, kind, subnet)
			if err != nil {
				return nil, errors.Join(err, m.record.Forget())
			}
			var t tries
			answer, err := c.RunInstances(ctx, in, t.watch, fresh)
			if err == nil {
				i := answer.Instances[0]
				m.id = aws.ToString(i.InstanceId)
				m.say("%s: launched %s, a %s, from %s", b.region, m.id, kind, b.id())
				if err := m.waitRunning(ctx); err != nil {
					return nil, errors.Join(err, m.End())
				}
				return m, nil
			}
			err = fmt.Errorf("%s: launch a %s in %s: %w", b.region, kind, subnet, err)
			if !hasCode(err, noCapacity...) {
				return nil, errors.Join(quota(err), m.undo(ctx, c, in, &t))
			}
			errs = append(errs, err)
			m.say("%v", err)
		}
	}
	return nil, errors.Join(fmt.Errorf("%s: there is no capacity for an instance: give more instance_types", b.region), errors.Join(errs...), m.record.Forget())
}

// undoTimeout is how long it may take to take back a request that was broken off.
const undoTimeout = time.Minute

// undo takes back a request that has failed. Unless AWS refused it, an instance may
// have been launched: the same request, sent once more, is answered with that one.
// Where nobody answers, the ledger keeps the record.
func (m *machine) undo(ctx context.Context, c *ec2.Client, in *ec2.RunInstancesInput, t *tries) error {
	if !t.lost.Load() {
		return m.record.Forget()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	answer, err := c.RunInstances(ctx, in)
	if err != nil {
		return m.record.Look(ctx)
	}
	m.id = aws.ToString(answer.Instances[0].InstanceId)
	return m.End()
}

// quota explains errors of an account's limits.
func quota(err error) error {
	if hasCode(err, "VcpuLimitExceeded", "InstanceLimitExceeded", "MaxSpotInstanceCountExceeded", "VolumeLimitExceeded") {
		return fmt.Errorf("%w (it is the account's quota: lower max_instances, take smaller instance_types, or have it raised)", err)
	}
	return err
}

func (d *driver) instanceTypes(arch string) []string {
	switch {
	case len(d.options.InstanceTypes) > 0:
		return d.options.InstanceTypes
	case arch == string(types.ArchitectureValuesArm64):
		return []string{"t4g.medium"}
	}
	return []string{"t3.medium"}
}

// clientToken makes a token of words, which are longer than EC2 takes.
func clientToken(words ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(words, "\n")))
	return hex.EncodeToString(sum[:])
}

// instanceRequest is the request that launches an instance.
func (d *driver) instanceRequest(b *base, p *place, ami, token, kind, subnet string) (*ec2.RunInstancesInput, error) {
	o := &d.options
	size, err := o.volumeGiB(b.gib)
	if err != nil {
		return nil, err
	}
	root := &types.EbsBlockDevice{DeleteOnTermination: aws.Bool(true), VolumeType: types.VolumeType(cmp.Or(o.VolumeType, string(types.VolumeTypeGp3)))}
	if size > 0 {
		root.VolumeSize = aws.Int32(size)
	}
	if o.IOPS > 0 {
		root.Iops = aws.Int32(int32(o.IOPS))
	}
	if o.Throughput > 0 {
		root.Throughput = aws.Int32(int32(o.Throughput))
	}
	if o.KMSKey != "" {
		root.Encrypted, root.KmsKeyId = aws.Bool(true), aws.String(o.KMSKey)
	} else if o.Encrypted {
		root.Encrypted = aws.Bool(true)
	}
	tags := d.tags("bake", token)
	kinds := []types.ResourceType{types.ResourceTypeInstance, types.ResourceTypeVolume, types.ResourceTypeNetworkInterface}
	in := &ec2.RunInstancesInput{
		ImageId: aws.String(ami), InstanceType: types.InstanceType(kind), MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		// A request that is sent again launches no second instance.
		ClientToken:                       aws.String(clientToken(token, kind, subnet)),
		InstanceInitiatedShutdownBehavior: types.ShutdownBehaviorTerminate,
		MetadataOptions:                   &types.InstanceMetadataOptionsRequest{HttpTokens: types.HttpTokensStateRequired, HttpEndpoint: types.InstanceMetadataEndpointStateEnabled},
		BlockDeviceMappings:               []types.BlockDeviceMapping{{DeviceName: aws.String(b.device), Ebs: root}},
		NetworkInterfaces: []types.InstanceNetworkInterfaceSpecification{{
			DeviceIndex: aws.Int32(0), SubnetId: aws.String(subnet), Groups: p.groups, DeleteOnTermination: aws.Bool(true),
			AssociatePublicIpAddress: aws.Bool(o.Connect != connectPrivate),
		}},
	}
	for _, device := range b.volumes {
		in.BlockDeviceMappings = append(in.BlockDeviceMappings, types.BlockDeviceMapping{DeviceName: aws.String(device), Ebs: &types.EbsBlockDevice{DeleteOnTermination: aws.Bool(true)}})
	}
	if b.tags[tagKey] == "" { // a layer has them already
		further, err := parseVolumes(o.Volumes)
		if err != nil {
			return nil, err
		}
		for _, v := range further {
			if !slices.Contains(b.volumes, aws.ToString(v.DeviceName)) {
				v.Ebs.Encrypted, v.Ebs.KmsKeyId = root.Encrypted, root.KmsKeyId
				in.BlockDeviceMappings = append(in.BlockDeviceMappings, v)
			}
		}
	}
	if o.IMDSHopLimit > 0 {
		in.MetadataOptions.HttpPutResponseHopLimit = aws.Int32(int32(o.IMDSHopLimit))
	}
	if o.PrivateIP != "" {
		in.NetworkInterfaces[0].PrivateIpAddress = aws.String(o.PrivateIP)
	}
	if o.IMDSv1 {
		in.MetadataOptions.HttpTokens = types.HttpTokensStateOptional
	}
	if o.InstanceProfile != "" {
		in.IamInstanceProfile = &types.IamInstanceProfileSpecification{}
		if strings.HasPrefix(o.InstanceProfile, "arn:") {
			in.IamInstanceProfile.Arn = aws.String(o.InstanceProfile)
		} else {
			in.IamInstanceProfile.Name = aws.String(o.InstanceProfile)
		}
	}
	if o.Spot {
		in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot, SpotOptions: &types.SpotMarketOptions{
			SpotInstanceType: types.SpotInstanceTypeOneTime, InstanceInterruptionBehavior: types.InstanceInterruptionBehaviorTerminate,
		}}
		kinds = append(kinds, types.ResourceTypeSpotInstancesRequest)
	}
	in.TagSpecifications = tagged(tags, kinds...)
	if p.key != "" {
		in.KeyName = aws.String(p.key)
	}
	data := o.UserData
	if o.Key == keyUserData {
		key, err := d.key()
		if err != nil {
			return nil, err
		}
		data = key.CloudConfig()
	}
	if data != "" {
		in.UserData = aws.String(base64.StdEncoding.EncodeToString([]byte(data)))
	}
	return in, nil
}

// mayLaunch asks once, before the first instance is launched, whether all that will
// be done is allowed, and whether the KMS key can be used.
func (d *driver) mayLaunch(ctx context.Context, b *base) error {
	d.checkMu.Lock()
	defer d.checkMu.Unlock()
	if d.checked {
		return nil
	}
	if err := d.options.CheckProject(d.host.Ledger().Project()); err != nil {
		return err
	}
	c, err := d.clients.ec2(ctx, b.region)
	if err != nil {
		return err
	}
	if err := d.checkKey(ctx, b.region, d.options.KMSKey); err != nil {
		return fmt.Errorf("kms_key: %w", err)
	}
	_, snapshot := c.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: aws.String("vol-00000000000000000"), DryRun: aws.Bool(true)})
	_, terminate := c.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{"i-00000000000000000"}, DryRun: aws.Bool(true)})
	for what, err := range map[string]error{"make snapshots": snapshot, "terminate instances": terminate} {
		if hasCode(err, "UnauthorizedOperation") {
			return fmt.Errorf("%s: these credentials may not %s: %w", b.region, what, err)
		}
	}
	d.checked = true
	return nil
}

// waitRunning waits until the instance runs and has the address that it is reached
// by.
func (m *machine) waitRunning(ctx context.Context) error {
	m.logger.Progress("wait for the instance to run", 0, 0)
	return m.d.loop(fmt.Sprintf("%s: instance %s", m.region, m.id), runTimeout, unseenMost).Until(ctx, func(ctx context.Context) (bool, error) {
		i, err := m.d.instance(ctx, m.region, m.id)
		if err == nil && i == nil {
			err = wait.ErrNotFound
		}
		if err != nil {
			return false, err
		}
		if err := ended(i); err != nil {
			return false, err
		}
		for _, v := range i.BlockDeviceMappings {
			if aws.ToString(v.DeviceName) == aws.ToString(i.RootDeviceName) && v.Ebs != nil {
				m.volume = aws.ToString(v.Ebs.VolumeId)
			}
		}
		if m.address = aws.ToString(i.PublicIpAddress); m.d.options.Connect == connectPrivate || m.d.options.Connect == connectSession {
			m.address = aws.ToString(i.PrivateIpAddress)
		}
		if i.State == nil || i.State.Name != types.InstanceStateNameRunning || m.volume == "" {
			return false, nil
		}
		if m.address == "" && m.d.options.Connect != connectPrivate {
			return false, errors.New("it has no public address: give a subnet with a way to the internet, or connect = \"private\" or \"session-manager\"")
		}
		return m.address != "", nil
	})
}

const runTimeout = 10 * time.Minute

// ended returns why an instance does not run any more, or nil.
func ended(i *types.Instance) error {
	if i.State == nil || slices.Contains([]types.InstanceStateName{types.InstanceStateNamePending, types.InstanceStateNameRunning}, i.State.Name) {
		return nil
	}
	code, why := "", ""
	if i.StateReason != nil {
		code, why = aws.ToString(i.StateReason.Code), aws.ToString(i.StateReason.Message)
	}
	if strings.HasPrefix(code, "Server.Spot") {
		return fmt.Errorf("AWS took the spot instance back (%s): build again, which goes on from the last layer that was kept", code)
	}
	return fmt.Errorf("the instance is in the state %s: %s", i.State.Name, cmp.Or(why, code, aws.ToString(i.StateTransitionReason), "no reason is given"))
}
