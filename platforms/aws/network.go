package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"bake.build/bake/platforms/instance"
	"bake.build/bake/platforms/resource"
)

// A place is where instances of a build run, and what they share.
type place struct {
	region  string
	subnets []string // to be tried in this order
	groups  []string // security groups
	key     string   // the name of the key pair; "" when user data brings the key
	token   string   // names what was made for it
	cleanup resource.Stack
}

// sshPort is where instances listen.
const sshPort = 22

// place makes what instances need, when the first one is launched.
func (d *driver) place(ctx context.Context) (*place, error) {
	return d.site.Place(func() (*place, error) {
		region, err := d.clients.region(ctx)
		if err != nil {
			return nil, err
		}
		p := &place{region: region, token: newToken()}
		if err := d.setUp(ctx, p); err != nil {
			return nil, errors.Join(err, p.cleanup.Close(context.WithoutCancel(ctx)))
		}
		return p, nil
	})
}

func (d *driver) setUp(ctx context.Context, p *place) error {
	vpc, cidr, err := d.findSubnets(ctx, p)
	if err != nil {
		return fmt.Errorf("%s: %w", p.region, err)
	}
	if p.groups = d.options.SecurityGroups; len(p.groups) == 0 {
		if err := d.makeGroup(ctx, p, vpc, cidr); err != nil {
			return fmt.Errorf("%s: make a security group: %w", p.region, err)
		}
	}
	if d.options.Key != keyUserData {
		if err := d.importKey(ctx, p); err != nil {
			return fmt.Errorf("%s: make a key pair: %w", p.region, err)
		}
	}
	return nil
}

// findSubnets chooses subnets. cidr are the addresses of the first one.
func (d *driver) findSubnets(ctx context.Context, p *place) (vpc, cidr string, err error) {
	c, err := d.clients.ec2(ctx, p.region)
	if err != nil {
		return "", "", err
	}
	in := &ec2.DescribeSubnetsInput{}
	if d.options.Subnet != "" {
		in.SubnetIds = []string{d.options.Subnet}
	} else {
		if vpc = d.options.VPC; vpc == "" {
			out, err := c.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: []types.Filter{filter("is-default", "true")}})
			if err != nil {
				return "", "", fmt.Errorf("look for the default VPC: %w", err)
			}
			if len(out.Vpcs) > 0 {
				vpc = aws.ToString(out.Vpcs[0].VpcId)
			} else if vpc, err = d.makeVPC(ctx, p); err != nil {
				return "", "", err
			}
		}
		in.Filters = []types.Filter{filter("vpc-id", vpc), filter("state", "available")}
		for _, name := range slices.Sorted(maps.Keys(d.options.SubnetFilter)) {
			in.Filters = append(in.Filters, filter(name, strings.Split(d.options.SubnetFilter[name], ",")...))
		}
	}
	out, err := c.DescribeSubnets(ctx, in)
	if err != nil {
		return "", "", fmt.Errorf("look for subnets: %w", err)
	}
	list := out.Subnets
	if len(list) == 0 {
		if len(d.options.SubnetFilter) > 0 {
			return "", "", fmt.Errorf("subnet_filter: no subnet of the VPC %s fits", vpc)
		}
		return "", "", fmt.Errorf("the VPC %s has no subnet", vpc)
	}
	slices.SortFunc(list, func(a, b types.Subnet) int {
		return cmp.Or(cmp.Compare(aws.ToInt32(b.AvailableIpAddressCount), aws.ToInt32(a.AvailableIpAddressCount)), cmp.Compare(aws.ToString(a.SubnetId), aws.ToString(b.SubnetId)))
	})
	for _, s := range list {
		p.subnets = append(p.subnets, aws.ToString(s.SubnetId))
	}
	vpc = aws.ToString(list[0].VpcId)
	if d.options.VPC != "" && vpc != d.options.VPC {
		return "", "", fmt.Errorf("the subnet %s is in the VPC %s, and not in %s", d.options.Subnet, vpc, d.options.VPC)
	}
	return vpc, aws.ToString(list[0].CidrBlock), nil
}

// makeGroup makes a security group that lets in who needs it, and nobody else.
func (d *driver) makeGroup(ctx context.Context, p *place, vpc, cidr string) error {
	from := d.options.SSHFrom
	if len(from) == 0 && d.options.Connect != connectSession {
		own, err := d.ownAddress(ctx, cidr)
		if err != nil {
			return fmt.Errorf("find out this host's address (or say it with ssh_from): %w", err)
		}
		from = []string{netip.PrefixFrom(own, own.BitLen()).String()}
	}
	c, err := d.clients.ec2(ctx, p.region)
	if err != nil {
		return err
	}
	name := "bake-" + p.token
	id, record, err := ask(ctx, d, kindGroup, p.region, name, func(t *tries) (string, error) {
		out, err := c.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{
			GroupName: aws.String(name), Description: aws.String("lets bake log in to the instances of one build"), VpcId: aws.String(vpc),
			TagSpecifications: tagged(d.tags(name, p.token), types.ResourceTypeSecurityGroup),
		}, t.watch, fresh)
		if hasCode(err, "InvalidGroup.Duplicate") {
			return d.groupNamed(ctx, p.region, name, err)
		} else if err != nil {
			return "", err
		}
		return aws.ToString(out.GroupId), nil
	})
	if err != nil {
		return err
	}
	p.cleanup.Push(record, func(ctx context.Context) error { return d.deleteGroup(ctx, p.region, id) })
	p.groups = []string{id}
	if len(from) == 0 {
		return nil
	}
	rule := types.IpPermission{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(sshPort), ToPort: aws.Int32(sshPort)}
	for _, f := range from {
		prefix, err := netip.ParsePrefix(f)
		if err != nil {
			return err
		}
		if prefix.Addr().Is4() {
			rule.IpRanges = append(rule.IpRanges, types.IpRange{CidrIp: aws.String(prefix.String())})
		} else {
			rule.Ipv6Ranges = append(rule.Ipv6Ranges, types.Ipv6Range{CidrIpv6: aws.String(prefix.String())})
		}
	}
	_, err = c.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: aws.String(id), IpPermissions: []types.IpPermission{rule}}, fresh)
	return unless(err, "InvalidPermission.Duplicate") // by a try whose answer was lost
}

// groupNamed returns, after a failure, the security group of a name that nobody else
// can have given.
func (d *driver) groupNamed(ctx context.Context, region, name string, failure error) (string, error) {
	groups, err := d.findGroups(ctx, region, filter("group-name", name))
	if err != nil || len(groups) == 0 {
		return "", errors.Join(failure, err)
	}
	return aws.ToString(groups[0].GroupId), nil
}

// ownAddress returns the address that instances see this host as. To a private
// address that is the one that packets go out from; a public one is seen behind
// routers that translate addresses, so that AWS is asked.
func (d *driver) ownAddress(ctx context.Context, cidr string) (netip.Addr, error) {
	cfg, err := d.clients.load(ctx)
	if err != nil {
		return netip.Addr{}, err
	}
	if d.options.Connect != connectPrivate && cfg.BaseEndpoint == nil {
		return publicAddress(ctx)
	}
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return netip.Addr{}, err
	}
	return instance.OwnAddress(ctx, prefix.Addr().Next().String())
}

// addressService answers with the address that a request came from.
const addressService = "https://checkip.amazonaws.com/"

func publicAddress(ctx context.Context) (addr netip.Addr, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, addressService, nil)
	if err != nil {
		return addr, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return addr, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 100))
	if err != nil {
		return addr, err
	}
	if resp.StatusCode != http.StatusOK {
		return addr, fmt.Errorf("%s: %s", addressService, resp.Status)
	}
	return netip.ParseAddr(strings.TrimSpace(string(text)))
}

// importKey makes the build's key a key pair of EC2. The private half stays here.
func (d *driver) importKey(ctx context.Context, p *place) error {
	c, err := d.clients.ec2(ctx, p.region)
	if err != nil {
		return err
	}
	key, err := d.key()
	if err != nil {
		return err
	}
	name := "bake-" + p.token
	made, record, err := ask(ctx, d, kindKeyPair, p.region, name, func(t *tries) (string, error) {
		_, err = c.ImportKeyPair(ctx, &ec2.ImportKeyPairInput{
			KeyName: aws.String(name), PublicKeyMaterial: []byte(key.Authorized()), TagSpecifications: tagged(d.tags(name, p.token), types.ResourceTypeKeyPair),
		}, t.watch)
		// A name that nobody else can have given was taken by a try whose answer was lost.
		return name, unless(err, "InvalidKeyPair.Duplicate")
	})
	if err != nil {
		return err
	}
	p.key = made
	p.cleanup.Push(record, func(ctx context.Context) error { return d.deleteKeyPair(ctx, p.region, name) })
	return nil
}
