package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"bake.build/bake/platforms"
)

// Origin are the options of source().
type Origin struct {
	AMI         string            `bake:"ami,origin" json:"ami,omitempty" help:"The id of an AMI in the platform's region."`
	Filter      map[string]string `bake:"ami_filter,origin" json:"ami_filter,omitempty" help:"The most recent AMI that fits: owner (an account's number, or amazon, aws-marketplace or self; several with commas), and filters of DescribeImages such as name or architecture."`
	Deprecated  bool              `bake:"include_deprecated" json:"include_deprecated,omitempty" help:"ami_filter and marketplace also choose AMIs that their owner has deprecated."`
	Parameter   string            `bake:"ssm_parameter,origin" json:"ssm_parameter,omitempty" help:"An SSM parameter whose value is the id of an AMI, such as /aws/service/debian/release/12/latest/amd64."`
	Marketplace string            `bake:"marketplace,origin" json:"marketplace,omitempty" help:"The product code of a product of AWS Marketplace, which the account has subscribed to: its most recent AMI."`
}

// filters are those of DescribeImages that say what an image is, not how it is
// doing.
var filters = []string{
	"name", "architecture", "description", "boot-mode", "ena-support", "hypervisor", "image-type", "platform", "platform-details",
	"product-code", "root-device-name", "tpm-support", "virtualization-type", "usage-operation",
}

// implied are filters that every search has.
var implied = map[string]string{
	"root-device-type": "only AMIs on EBS are chosen",
	"state":            "only AMIs that are available are chosen",
}

const ownerKey = "owner"

// Check implements platforms.OptionChecker.
func (o *Origin) Check() error {
	if o.AMI != "" && !strings.HasPrefix(o.AMI, "ami-") {
		return fmt.Errorf("ami: %q is not an AMI id such as ami-0123456789abcdef0", o.AMI)
	}
	if o.Deprecated && o.Filter == nil && o.Marketplace == "" {
		return errors.New("include_deprecated: is for ami_filter and marketplace")
	}
	if o.Filter == nil {
		return nil
	}
	if o.Filter[ownerKey] == "" {
		// Anybody may publish an image of any name.
		return errors.New(`ami_filter: "owner" is missing: anybody may publish an AMI of any name`)
	}
	for _, key := range slices.Sorted(maps.Keys(o.Filter)) {
		if why := implied[key]; why != "" {
			return fmt.Errorf("ami_filter: leave %q out: %s", key, why)
		}
		if key != ownerKey && !slices.Contains(filters, key) && !strings.HasPrefix(key, "tag:") {
			return fmt.Errorf("ami_filter: %q is not a filter: want %s, tag:NAME, or %s", key, ownerKey, strings.Join(filters, ", "))
		}
	}
	return nil
}

// PinName implements platforms.PinNamer. AMIs are those of one region.
func (d *driver) PinName(o platforms.Origin) string {
	var or Origin
	if o.Decode(&or) != nil {
		return "" // told where it is used
	}
	var what string
	switch {
	case or.Filter != nil:
		var parts []string
		for _, key := range slices.Sorted(maps.Keys(or.Filter)) {
			parts = append(parts, key+"="+or.Filter[key])
		}
		what = strings.Join(parts, " ")
	default:
		what = cmp.Or(or.Parameter, or.Marketplace, or.AMI)
	}
	return strings.TrimSpace(d.options.Region + " " + what)
}

// Pin implements platforms.Driver: the pin is the AMI's id.
func (d *driver) Pin(ctx context.Context, o platforms.Origin) (platforms.Origin, error) {
	var or Origin
	if err := o.Decode(&or); err != nil {
		return o, err
	}
	if err := or.Check(); err != nil {
		return o, &platforms.OptionError{Err: err}
	}
	region, err := d.clients.region(ctx)
	if err != nil {
		return o, err
	}
	if o.Pin != nil && (or.AMI == "" || or.AMI == o.Pin.ID) {
		ami, err := d.ami(ctx, region, o.Pin.ID)
		if err != nil {
			return o, err
		}
		if ami != nil && ami.State == types.ImageStateAvailable {
			return o, nil
		}
	}
	ami, err := d.resolve(ctx, region, or)
	if err != nil {
		return o, fmt.Errorf("%s: %w", region, err)
	}
	if ami.RootDeviceType != types.DeviceTypeEbs {
		return o, &platforms.OptionError{Err: fmt.Errorf("%s: the root device of %s is not on EBS, which layers are made of", region, aws.ToString(ami.ImageId))}
	}
	o.Pin = &platforms.Pin{
		ID: aws.ToString(ami.ImageId), Date: aws.ToString(ami.CreationDate),
		Detail: map[string]string{"name": aws.ToString(ami.Name), "owner": aws.ToString(ami.OwnerId)},
	}
	return o, nil
}

// resolve finds the AMI that an origin names now.
func (d *driver) resolve(ctx context.Context, region string, o Origin) (*types.Image, error) {
	switch {
	case o.Filter != nil:
		in := &ec2.DescribeImagesInput{IncludeDeprecated: aws.Bool(o.Deprecated), Owners: strings.Split(strings.ReplaceAll(o.Filter[ownerKey], " ", ""), ",")}
		for _, key := range slices.Sorted(maps.Keys(o.Filter)) {
			if key != ownerKey {
				in.Filters = append(in.Filters, filter(key, o.Filter[key]))
			}
		}
		return d.newest(ctx, region, in, "no AMI fits the filter")
	case o.Marketplace != "":
		in := &ec2.DescribeImagesInput{IncludeDeprecated: aws.Bool(o.Deprecated), Owners: []string{"aws-marketplace"}, Filters: []types.Filter{
			filter("product-code", o.Marketplace), filter("product-code.type", "marketplace"),
		}}
		return d.newest(ctx, region, in, "AWS Marketplace has no AMI of the product code "+o.Marketplace)
	}
	id := o.AMI
	if o.Parameter != "" {
		var err error
		if id, err = d.parameter(ctx, region, o.Parameter); err != nil {
			return nil, err
		}
	}
	ami, err := d.ami(ctx, region, id)
	if err != nil {
		return nil, err
	}
	if ami == nil {
		return nil, fmt.Errorf("there is no AMI %s, or this account may not use it", id)
	}
	return ami, nil
}

func filter(name string, values ...string) types.Filter {
	return types.Filter{Name: aws.String(name), Values: values}
}

// newest returns the most recent image that fits and can be used.
func (d *driver) newest(ctx context.Context, region string, in *ec2.DescribeImagesInput, none string) (*types.Image, error) {
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return nil, err
	}
	in.Filters = append(in.Filters, filter("state", "available"), filter("root-device-type", "ebs"))
	var found *types.Image
	pages := ec2.NewDescribeImagesPaginator(c, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("look for AMIs: %w", err)
		}
		for _, ami := range page.Images {
			// Two of one moment are told apart in the same way each time.
			if found == nil || cmp.Or(cmp.Compare(aws.ToString(ami.CreationDate), aws.ToString(found.CreationDate)), cmp.Compare(aws.ToString(ami.ImageId), aws.ToString(found.ImageId))) > 0 {
				found = &ami
			}
		}
	}
	if found == nil {
		return nil, errors.New(none)
	}
	return found, nil
}

func (d *driver) parameter(ctx context.Context, region, name string) (string, error) {
	c, err := d.clients.ssm(ctx, region)
	if err != nil {
		return "", err
	}
	out, err := c.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(name)})
	if err != nil {
		return "", fmt.Errorf("read the SSM parameter %s: %w", name, err)
	}
	id := strings.TrimSpace(aws.ToString(out.Parameter.Value))
	if !strings.HasPrefix(id, "ami-") {
		return "", fmt.Errorf("the SSM parameter %s is %q, %w", name, id, errNoImage)
	}
	return id, nil
}

// errNoImage is of a parameter that names something else.
var errNoImage = errors.New("and no id of an AMI")

// ami returns an AMI, or nil when there is none of that id.
func (d *driver) ami(ctx context.Context, region, id string) (*types.Image, error) {
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return nil, err
	}
	out, err := c.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{id}, IncludeDeprecated: aws.Bool(true)})
	if hasCode(err, "InvalidAMIID.NotFound", "InvalidAMIID.Malformed", "InvalidAMIID.Unavailable") || err == nil && len(out.Images) == 0 {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("%s: look for the AMI %s: %w", region, id, err)
	}
	return &out.Images[0], nil
}

// Import implements platforms.Driver: nothing but the AMI's id is kept.
func (d *driver) Import(ctx context.Context, o platforms.Origin, _ string, out platforms.Logger) (platforms.Made, error) {
	b, name, err := d.origin(ctx, o)
	if err != nil {
		return platforms.Made{}, err
	}
	_, err = fmt.Fprintf(out, "%s: %s (%s)\n", b.region, b.ami, name)
	return platforms.Made{Ref: b.ami, Traits: b.traits()}, err
}

// Describe implements platforms.Describer. It asks AWS for the AMI.
func (d *driver) Describe(ctx context.Context, o platforms.Origin) (platforms.Traits, error) {
	b, _, err := d.origin(ctx, o)
	if err != nil {
		return platforms.Traits{}, err
	}
	return b.traits(), nil
}

// origin returns the AMI that o is pinned to, and its name.
func (d *driver) origin(ctx context.Context, o platforms.Origin) (b *base, name string, err error) {
	region, err := d.clients.region(ctx)
	if err != nil {
		return nil, "", err
	}
	if o.Pin == nil {
		return nil, "", errors.New("the origin has no pin")
	}
	ami, err := d.ami(ctx, region, o.Pin.ID)
	if err != nil {
		return nil, "", err
	}
	if ami == nil {
		return nil, "", fmt.Errorf("%s: there is no AMI %s any more, or this account may not use it: bake update finds another one", region, o.Pin.ID)
	}
	return baseOf(region, ami), aws.ToString(ami.Name), nil
}
