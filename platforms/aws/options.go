package aws

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"bake.build/bake/internal/lazyregexp"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/publish"
	"bake.build/bake/platforms/remote"
	"bake.build/bake/platforms/ssh"
)

// Name is the platform's name in definitions.
const Name = "aws"

// Options are the options of aws().
type Options struct {
	Region   string            `bake:"region" json:"region,omitempty" help:"The region, such as eu-west-1." default:"that of the AWS configuration"`
	Profile  string            `bake:"profile" json:"profile,omitempty" help:"The profile of the AWS configuration." default:"$AWS_PROFILE, or default"`
	Role     string            `bake:"role" json:"role,omitempty" help:"The ARN of a role to assume; or several with spaces between, each assumed by the one before."`
	Endpoint string            `bake:"endpoint" json:"endpoint,omitempty" help:"The URL of all services, for private clouds and tests." default:"AWS's own"`
	Tags     map[string]string `bake:"tags,numbers" json:"tags,omitempty" help:"Tags of all resources that are created."`

	InstanceTypes  []string          `bake:"instance_types" json:"instance_types,omitempty" help:"Instance types for steps; the first one with capacity is used." default:"[\"t3.medium\"], or [\"t4g.medium\"] for arm64"`
	Spot           bool              `bake:"spot" json:"spot,omitempty" help:"Instances are spot instances. When AWS takes one back, the build fails, and the next one goes on from the last layer that was kept."`
	MaxInstances   int               `bake:"max_instances" json:"max_instances,omitempty" help:"Maximum number of instances at once." default:"8"`
	Subnet         string            `bake:"subnet" json:"subnet,omitempty" help:"The subnet of instances." default:"one of the VPC's"`
	SubnetFilter   map[string]string `bake:"subnet_filter" json:"subnet_filter,omitempty" help:"Which subnets instances may run in: filters of DescribeSubnets, such as tag:Tier. The one with the most free addresses is tried first."`
	VPC            string            `bake:"vpc" json:"vpc,omitempty" help:"The VPC of instances." default:"that of the subnet, the account's default VPC, or one that is made for the build"`
	SecurityGroups []string          `bake:"security_groups" json:"security_groups,omitempty" help:"The security groups of instances, by their ids." default:"one that is made for the build, and lets ssh_from in"`
	SSHFrom        []string          `bake:"ssh_from" json:"ssh_from,omitempty" help:"The networks that the build's security group lets in, such as 203.0.113.7/32." default:"this host's address"`
	Connect        string            `bake:"connect" json:"connect,omitempty" help:"How to connect to instances: by their public address, by their private one, or by Session Manager, which needs instance_profile and the program session-manager-plugin." default:"public" choices:"public|private|session-manager"`

	ssh.Bastions

	PrivateIP       string `bake:"private_ip" json:"private_ip,omitempty" help:"The private address of an instance, for subnets where that matters. It makes max_instances 1."`
	InstanceProfile string `bake:"instance_profile" json:"instance_profile,omitempty" help:"The IAM instance profile of instances, by its name or its ARN."`
	IMDSv1          bool   `bake:"imds_v1" json:"imds_v1,omitempty" help:"Instances also answer to version 1 of the metadata service."`
	IMDSHopLimit    int    `bake:"imds_hop_limit" json:"imds_hop_limit,omitempty" help:"How many network hops answers of the metadata service may take, 1 to 64: 2 for containers in instances." default:"as the account's settings say"`

	ssh.Login `defaults:"user=the user of the AMI's distribution: admin, ubuntu, rocky, fedora or ec2-user"`

	Key        string            `bake:"key" json:"key,omitempty" help:"How the build's key gets into instances: as a key pair of EC2, or in cloud-init's user data." default:"key-pair" choices:"key-pair|user-data"`
	UserData   string            `bake:"user_data" json:"user_data,omitempty" help:"The user data of instances, for key = \"key-pair\"."`
	VolumeType string            `bake:"volume_type" json:"volume_type,omitempty" help:"The type of an instance's root volume." default:"gp3" choices:"gp2|gp3|io1|io2|standard"`
	VolumeSize string            `bake:"volume_size,size" json:"volume_size,omitempty" help:"The size of an instance's root volume, in whole GiB. It can only grow." default:"that of the AMI"`
	Volumes    map[string]string `bake:"volumes" json:"volumes,omitempty" help:"Further empty volumes of instances, by their device: a size and, if wanted, a type, such as {\"/dev/sdf\": \"100G gp3\"}. They are part of layers, which are AMIs then."`
	IOPS       int               `bake:"iops" json:"iops,omitempty" help:"Operations a second of the root volume, for gp3, io1 and io2."`
	Throughput int               `bake:"throughput" json:"throughput,omitempty" help:"MiB a second of the root volume, for gp3."`
	Encrypted  bool              `bake:"encrypted" json:"encrypted,omitempty" help:"Encrypt the root volume, and with it all layers." default:"as the AMI and the account's default say"`
	KMSKey     string            `bake:"kms_key" json:"kms_key,omitempty" help:"The KMS key for that: an ARN, an id or an alias." default:"the account's"`

	remote.Options
}

// Defaults of Options.
const (
	defaultInstances = 8
)

var (
	_ platforms.OptionChecker = (*Options)(nil)
	_ platforms.OptionChecker = (*Origin)(nil)
	_ platforms.OptionChecker = (*Publication)(nil)
)

// Choices of Options.
const (
	connectPrivate = "private"
	connectSession = "session-manager"
	keyUserData    = "user-data"
	checkpointAll  = string(remote.EveryStep)
	checkpointLast = string(remote.WhereUsed)
)

// Check implements platforms.OptionChecker.
func (o *Options) Check() error {
	for _, from := range o.SSHFrom {
		if _, err := netip.ParsePrefix(from); err != nil {
			return fmt.Errorf("ssh_from: %q is no network, such as 203.0.113.7/32", from)
		}
	}
	switch {
	case o.Region != "" && !regionID.MatchString(o.Region):
		return fmt.Errorf("region: %q is no name of a region, such as eu-west-1", o.Region)
	case o.PrivateIP != "" && o.Subnet == "":
		return errors.New("private_ip: needs subnet")
	case o.PrivateIP != "" && o.MaxInstances > 1:
		return errors.New("private_ip: needs max_instances = 1")
	case len(o.SSHFrom) > 0 && len(o.SecurityGroups) > 0:
		return errors.New("ssh_from: is for the build's own security group, and security_groups are given")
	case len(o.SSHFrom) > 0 && o.Connect == connectSession:
		return errors.New("ssh_from: Session Manager needs no way in")
	case o.Connect == connectSession && o.InstanceProfile == "":
		return errors.New("connect: Session Manager needs an instance_profile that lets the instance talk to it")
	case len(o.Bastion) > 0 && o.Connect == connectSession:
		return errors.New("bastion: Session Manager leads past all hosts")
	case len(o.Bastion) > 0 && len(o.SSHFrom)+len(o.SecurityGroups) == 0:
		return errors.New("bastion: say with ssh_from which address instances see it as, or give security_groups")
	case o.UserData != "" && o.Key == keyUserData:
		return errors.New(`user_data: belongs to key = "key-pair"`)
	case len(o.SubnetFilter) > 0 && o.Subnet != "":
		return errors.New("subnet_filter: subnet is given")
	case o.IMDSHopLimit < 0 || o.IMDSHopLimit > 64:
		return fmt.Errorf("imds_hop_limit: %d: want 1 to 64", o.IMDSHopLimit)
	case o.MaxInstances < 0:
		return fmt.Errorf("max_instances: %d is less than zero", o.MaxInstances)
	}
	if err := errors.Join(checkTags("tags", o.Tags), o.Login.Check(), o.Options.Check()); err != nil {
		return err
	}
	for _, role := range strings.Fields(o.Role) {
		if !roleARN.MatchString(role) {
			return fmt.Errorf("role: %q is no ARN of a role", role)
		}
	}
	if _, err := parseVolumes(o.Volumes); err != nil {
		return err
	}
	gib, err := o.volumeGiB(0)
	if err != nil {
		return err
	}
	return checkVolume(types.VolumeType(cmp.Or(o.VolumeType, string(types.VolumeTypeGp3))), int64(gib), o.IOPS, o.Throughput)
}

// Limits of AWS for tags. Some of the number are bake's.
const (
	tagKeyMost   = 128
	tagValueMost = 256
	tagsMost     = 40
)

// checkTags says which of the user's tags cannot be.
func checkTags(option string, tags map[string]string) error {
	if len(tags) > tagsMost {
		return fmt.Errorf("%s: %d tags: AWS takes 50, and 10 are bake's own", option, len(tags))
	}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		switch lower := strings.ToLower(key); {
		case strings.HasPrefix(lower, "bake:"):
			return fmt.Errorf("%s: %q: tags that begin with bake: are bake's own, by which it finds what it made", option, key)
		case strings.HasPrefix(lower, "aws:"):
			return fmt.Errorf("%s: %q: AWS keeps tags that begin with aws: for itself", option, key)
		case key == "" || utf8.RuneCountInString(key) > tagKeyMost:
			return fmt.Errorf("%s: %q: the name of a tag has 1 to %d characters", option, key, tagKeyMost)
		case utf8.RuneCountInString(tags[key]) > tagValueMost:
			return fmt.Errorf("%s: %q: the value of a tag has at most %d characters", option, key, tagValueMost)
		}
	}
	return nil
}

// volumeGiB returns the size of the root volume for an image of so many GiB.
func (o *Options) volumeGiB(image int32) (int32, error) {
	n, err := Publication{VolumeSize: o.VolumeSize}.volumeGiB(int64(image) << 30)
	if o.VolumeSize == "" {
		return image, nil
	}
	return n, err
}

// Publication are the options of export() for images that are registered here.
type Publication struct {
	Regions        []string          `bake:"regions" json:"regions,omitempty" help:"Regions of the image, including the platform's region." default:"the platform's region"`
	ImageName      string            `bake:"image_name" json:"image_name,omitempty" help:"The AMI's name." default:"the artifact's, with the beginning of its key"`
	Description    string            `bake:"description" json:"description,omitempty" help:"The AMI's description."`
	OriginTags     []string          `bake:"origin_tags" json:"origin_tags,omitempty" help:"Tags that the image takes from the AMI that its layers began on, by their names, or * for all. Tags of other accounts' AMIs cannot be seen."`
	ImageTags      map[string]string `bake:"image_tags" json:"image_tags,omitempty" help:"Further tags of the AMI and its snapshots."`
	BootMode       string            `bake:"boot_mode" json:"boot_mode,omitempty" help:"Boot mode of instances." default:"as the disk was made to: uefi-preferred for both ways; uefi for the disk of a machine with UEFI firmware; that of the instance type where nobody said" choices:"legacy-bios|uefi|uefi-preferred"`
	UEFIData       string            `bake:"uefi_data" json:"uefi_data,omitempty" help:"The UEFI variable store that instances begin with, as base64 text: for keys of Secure Boot. It needs boot_mode = uefi or uefi-preferred."`
	TPM            bool              `bake:"tpm" json:"tpm,omitempty" help:"Instances have a NitroTPM. It needs boot_mode = uefi."`
	IMDSv1         bool              `bake:"imds_v1" json:"imds_v1,omitempty" help:"Instances also answer to version 1 of the metadata service."`
	RootDevice     string            `bake:"root_device" json:"root_device,omitempty" help:"The name of the root device." default:"/dev/xvda"`
	VolumeType     string            `bake:"volume_type" json:"volume_type,omitempty" help:"The type of the root volume." default:"gp3" choices:"gp2|gp3|io1|io2|standard"`
	VolumeSize     string            `bake:"volume_size,size" json:"volume_size,omitempty" help:"The size of the root volume, in whole GiB." default:"that of the disk"`
	Volumes        map[string]string `bake:"volumes" json:"volumes,omitempty" help:"Further empty volumes of instances of the image, by their device: a size and, if wanted, a type, such as {\"/dev/sdf\": \"100G gp3\"}."`
	IOPS           int               `bake:"iops" json:"iops,omitempty" help:"Operations a second of the root volume, for gp3, io1 and io2."`
	Throughput     int               `bake:"throughput" json:"throughput,omitempty" help:"MiB a second of the root volume, for gp3."`
	Encrypted      bool              `bake:"encrypted" json:"encrypted,omitempty" help:"Encrypt the snapshots, by the account's default key or by kms_keys." default:"as the account's default says"`
	KMSKeys        map[string]string `bake:"kms_keys" json:"kms_keys,omitempty" help:"The KMS key of each region, by the region's name: an ARN, an id or an alias such as alias/images."`
	CopyTo         []string          `bake:"copy_to" json:"copy_to,omitempty" help:"Other accounts that get a copy of the image in each region: the ARNs of roles there that these credentials may assume."`
	ShareWith      []string          `bake:"share_with" json:"share_with,omitempty" help:"Who may launch the image: account numbers, ARNs of organisations and of their units."`
	SnapshotUsers  []string          `bake:"snapshot_users" json:"snapshot_users,omitempty" help:"Who may make volumes of the image's snapshots: account numbers, or all."`
	Public         bool              `bake:"public" json:"public,omitempty" help:"Anyone may launch the image."`
	DeprecateAfter string            `bake:"deprecate_after,duration" json:"deprecate_after,omitempty" help:"Time from registration to deprecation, such as 2160h."`
	Protect        bool              `bake:"protect" json:"protect,omitempty" help:"It cannot be deregistered until the protection is turned off."`
	SSMParameter   string            `bake:"ssm_parameter" json:"ssm_parameter,omitempty" help:"The name of an SSM parameter that gets the image's id, in each region."`

	publish.Retention

	RetireShared bool `bake:"retire_shared" json:"retire_shared,omitempty" help:"keep also ends images that are shared with others, whose use of them cannot be seen."`
}

var (
	accountID = lazyregexp.New(`^\d{12}$`)
	roleARN   = lazyregexp.New(`^arn:aws[a-z-]*:iam::(\d{12}):role/\S+$`)
	orgARN    = lazyregexp.New(`^arn:aws[a-z-]*:organizations::\d{12}:(organization|ou)/`)
	amiName   = lazyregexp.New(`^[A-Za-z0-9()\[\] ./'@_-]{3,128}$`)
	regionID  = lazyregexp.New(`^[a-z]{2,}(-[a-z]+)+-\d+$`) // also of partitions that the SDK does not know
)

// Check implements platforms.OptionChecker.
func (p Publication) Check() error {
	for _, r := range p.Regions {
		if !regionID.MatchString(r) {
			return fmt.Errorf("regions: %q is no name of a region, such as eu-west-1", r)
		}
	}
	for _, who := range p.ShareWith {
		if !accountID.MatchString(who) && !orgARN.MatchString(who) {
			return fmt.Errorf("share_with: %q is neither an account number of 12 digits nor the ARN of an organisation or one of its units", who)
		}
	}
	for _, role := range p.CopyTo {
		if !roleARN.MatchString(role) {
			return fmt.Errorf("copy_to: %q is no ARN of a role, such as arn:aws:iam::210987654321:role/images", role)
		}
	}
	if _, err := parseVolumes(p.Volumes); err != nil {
		return err
	}
	for _, who := range p.SnapshotUsers {
		if !accountID.MatchString(who) && who != everybody {
			return fmt.Errorf("snapshot_users: %q is neither an account number of 12 digits nor %q", who, everybody)
		}
	}
	for region := range p.KMSKeys {
		if !regionID.MatchString(region) {
			return fmt.Errorf("kms_keys: %q is no name of a region", region)
		}
	}
	switch {
	case p.ImageName != "" && !amiName.MatchString(p.ImageName):
		return fmt.Errorf("image_name: %q: an AMI's name has 3 to 128 letters, digits and ()[] ./-'@_ (of a time, write .replace(\":\", \"-\"))", p.ImageName)
	case utf8.RuneCountInString(p.Description) > descriptionMost:
		return fmt.Errorf("description: it has %d characters, and AWS takes %d", utf8.RuneCountInString(p.Description), descriptionMost)
	case p.TPM && p.BootMode != "uefi":
		return errors.New(`tpm: a NitroTPM needs boot_mode = "uefi"`)
	case p.UEFIData != "" && !strings.HasPrefix(p.BootMode, "uefi"):
		return errors.New(`uefi_data: needs boot_mode = "uefi" or "uefi-preferred"`)
	case slices.Contains(p.SnapshotUsers, everybody) && (p.Encrypted || len(p.KMSKeys) > 0):
		return errors.New("snapshot_users: an encrypted snapshot cannot be everybody's")
	case p.Public && (p.Encrypted || len(p.KMSKeys) > 0):
		return errors.New("public: an encrypted image cannot be public")
	}
	if err := errors.Join(checkTags("image_tags", p.ImageTags), p.Retention.Check()); err != nil {
		return err
	}
	if _, err := p.deprecateAfter(); err != nil {
		return err
	}
	gib, err := p.volumeGiB(0)
	if err != nil {
		return err
	}
	if p.VolumeSize == "" {
		gib = 0
	}
	return checkVolume(types.VolumeType(cmp.Or(p.VolumeType, string(types.VolumeTypeGp3))), int64(gib), p.IOPS, p.Throughput)
}

// descriptionMost is how many characters the description of an AMI may have.
const descriptionMost = 255

// How long after its registration an image can be deprecated, at most.
const (
	year            = 365 * 24 * time.Hour
	deprecateMost   = 10 * year
	deprecatePublic = 2 * year
)

// deprecateAfter returns 0 when it is never deprecated.
func (p Publication) deprecateAfter() (time.Duration, error) {
	if p.DeprecateAfter == "" {
		return 0, nil
	}
	d, err := platforms.ParseDuration(p.DeprecateAfter)
	if err != nil {
		return 0, fmt.Errorf("deprecate_after: %w", err)
	}
	if d > deprecateMost || p.Public && d > deprecatePublic {
		return 0, fmt.Errorf("deprecate_after: %s: AWS takes 10 years at most, and 2 of a public image", p.DeprecateAfter)
	}
	return d, nil
}

// volumeGiB returns the size of the root volume for a disk of so many bytes.
func (p Publication) volumeGiB(disk int64) (int32, error) {
	const gib = 1 << 30
	need := max(1, (disk+gib-1)/gib)
	if p.VolumeSize == "" {
		return int32(need), nil
	}
	size, err := platforms.ParseSize(p.VolumeSize)
	switch {
	case err != nil:
		return 0, fmt.Errorf("volume_size: %w", err)
	case size%gib != 0:
		return 0, fmt.Errorf("volume_size: %s: want whole GiB", p.VolumeSize)
	case size/gib < need:
		return 0, fmt.Errorf("volume_size: %s are less than the disk, which has %dG", p.VolumeSize, need)
	}
	return int32(size / gib), nil
}

// imageKey returns what names the image: its disk, and all that is said of it
// once and for all when it is registered. The rest can be changed later. Equal images
// of two projects are two, since each has its own way of ending.
func (p Publication) imageKey(of platforms.Publication, project string) (string, error) {
	p.CopyTo, p.OriginTags = nil, nil
	p.Regions, p.ImageTags, p.ShareWith, p.SnapshotUsers, p.Public = nil, nil, nil, nil, false
	p.DeprecateAfter, p.Protect, p.SSMParameter, p.Keep, p.RetireShared = "", false, "", 0, false
	return publish.Identify("ami 2", project, of, p)
}

// imageName returns the name of the AMI.
func (p Publication) imageName(artifact, key string) string {
	if p.ImageName != "" {
		return p.ImageName
	}
	return publish.Name(artifact, key)
}
