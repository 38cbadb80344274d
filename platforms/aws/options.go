package aws

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"bake.build/bake/platforms"
)

// Name is the platform's name in definitions.
const Name = "aws"

// Options are the options of aws().
type Options struct {
	Region   string            `bake:"region" json:"region,omitempty" help:"The region, such as eu-west-1." default:"that of the AWS configuration"`
	Profile  string            `bake:"profile" json:"profile,omitempty" help:"The profile of the AWS configuration." default:"$AWS_PROFILE, or default"`
	Role     string            `bake:"role" json:"role,omitempty" help:"The ARN of a role to assume."`
	Endpoint string            `bake:"endpoint" json:"endpoint,omitempty" help:"The URL of all services, for private clouds and tests." default:"AWS's own"`
	Tags     map[string]string `bake:"tags" json:"tags,omitempty" help:"Tags of everything that is made."`
}

// Origin are the options of source(): there are none, since no machine runs
// here.
type Origin struct{}

// Publication are the options of export() for images that are registered here.
type Publication struct {
	Regions        []string          `bake:"regions" json:"regions,omitempty" help:"Where the image is to be, the platform's region included." default:"the platform's region"`
	ImageName      string            `bake:"image_name" json:"image_name,omitempty" help:"The AMI's name." default:"the artifact's, with the beginning of its key"`
	Description    string            `bake:"description" json:"description,omitempty" help:"The AMI's description."`
	ImageTags      map[string]string `bake:"image_tags" json:"image_tags,omitempty" help:"Further tags of the AMI and its snapshots."`
	BootMode       string            `bake:"boot_mode" json:"boot_mode,omitempty" help:"How instances boot." default:"as the disk was made to: uefi-preferred for both ways; that of the instance type where nobody said" choices:"legacy-bios|uefi|uefi-preferred"`
	TPM            bool              `bake:"tpm" json:"tpm,omitempty" help:"Instances have a NitroTPM. It needs boot_mode = uefi."`
	IMDSv1         bool              `bake:"imds_v1" json:"imds_v1,omitempty" help:"Instances also answer to version 1 of the metadata service."`
	RootDevice     string            `bake:"root_device" json:"root_device,omitempty" help:"The name of the root device." default:"/dev/xvda"`
	VolumeType     string            `bake:"volume_type" json:"volume_type,omitempty" help:"The type of the root volume." default:"gp3" choices:"gp2|gp3|io1|io2|st1|sc1|standard"`
	VolumeSize     string            `bake:"volume_size,size" json:"volume_size,omitempty" help:"The size of the root volume, in whole GiB." default:"that of the disk"`
	IOPS           int               `bake:"iops" json:"iops,omitempty" help:"Operations a second of the root volume, for gp3, io1 and io2."`
	Throughput     int               `bake:"throughput" json:"throughput,omitempty" help:"MiB a second of the root volume, for gp3."`
	Encrypted      bool              `bake:"encrypted" json:"encrypted,omitempty" help:"Encrypt the snapshots, by the account's default key or by kms_keys." default:"as the account's default says"`
	KMSKeys        map[string]string `bake:"kms_keys" json:"kms_keys,omitempty" help:"The KMS key of each region, by the region's name."`
	ShareWith      []string          `bake:"share_with" json:"share_with,omitempty" help:"Who may launch it: account numbers, ARNs of organisations and of their units."`
	Public         bool              `bake:"public" json:"public,omitempty" help:"Everybody may launch it."`
	DeprecateAfter string            `bake:"deprecate_after,duration" json:"deprecate_after,omitempty" help:"How long after its registration it counts as deprecated, such as 2160h."`
	Protect        bool              `bake:"protect" json:"protect,omitempty" help:"It cannot be deregistered until the protection is turned off."`
	SSMParameter   string            `bake:"ssm_parameter" json:"ssm_parameter,omitempty" help:"The name of an SSM parameter that gets the image's id, in each region."`
	Keep           int               `bake:"keep" json:"keep,omitempty" help:"How many images of this artifact are kept in each region: older ones are deregistered and their snapshots deleted, but for those in use." default:"all"`
}

var (
	accountID = regexp.MustCompile(`^\d{12}$`)
	orgARN    = regexp.MustCompile(`^arn:aws[a-z-]*:organizations::\d{12}:(organization|ou)/`)
	amiName   = regexp.MustCompile(`^[A-Za-z0-9()\[\] ./'@_-]{3,128}$`)
	regionID  = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-\d+$`)
)

// check says what is wrong with the options in themselves.
func (p Publication) check() error {
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
	for region := range p.KMSKeys {
		if !regionID.MatchString(region) {
			return fmt.Errorf("kms_keys: %q is no name of a region", region)
		}
	}
	switch {
	case p.ImageName != "" && !amiName.MatchString(p.ImageName):
		return fmt.Errorf("image_name: %q: an AMI's name has 3 to 128 letters, digits and ()[] ./-'@_", p.ImageName)
	case p.TPM && p.BootMode != "uefi":
		return errors.New(`tpm: a NitroTPM needs boot_mode = "uefi"`)
	case p.Keep < 0:
		return fmt.Errorf("keep: %d is less than zero", p.Keep)
	case p.Public && (p.Encrypted || len(p.KMSKeys) > 0):
		return errors.New("public: an encrypted image cannot be public")
	}
	if _, err := p.deprecateAfter(); err != nil {
		return err
	}
	_, err := p.volumeGiB(0)
	return err
}

// deprecateAfter returns 0 when it is never deprecated.
func (p Publication) deprecateAfter() (time.Duration, error) {
	if p.DeprecateAfter == "" {
		return 0, nil
	}
	d, err := platforms.ParseDuration(p.DeprecateAfter)
	if err != nil {
		return 0, fmt.Errorf("deprecate_after: %w", err)
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
// once and for all when it is registered. The rest can be changed later.
func (p Publication) imageKey(of platforms.Publication) (string, error) {
	p.Regions, p.ImageTags, p.ShareWith, p.Public = nil, nil, nil, false
	p.DeprecateAfter, p.Protect, p.SSMParameter, p.Keep = "", false, "", 0
	text, err := json.Marshal(p)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, s := range []string{"ami 1", of.Content, of.Arch, of.Boot, string(text)} {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// imageName returns the name of the AMI.
func (p Publication) imageName(artifact, key string) string {
	if p.ImageName != "" {
		return p.ImageName
	}
	return artifact + "-" + key[:12]
}
