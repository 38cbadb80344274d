package aws

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"bake.build/bake/platforms"
)

// Addresses of a VPC of the build's own. Nothing is connected to it but the internet,
// so that any private ones do.
const (
	vpcAddresses    = "10.83.0.0/16"
	subnetAddresses = "10.83.0.0/20"
)

// makeVPC makes a VPC with one subnet and a way to the internet, for an account that
// has no default VPC. It is one resource: its parts bear its token.
func (d *driver) makeVPC(ctx context.Context, p *place) (vpc string, err error) {
	if d.options.Connect == connectPrivate {
		return "", errors.New("the account has no default VPC, and no private address of a new one can be reached: say where instances run with aws(subnet = \"…\")")
	}
	c, err := d.clients.ec2(ctx, p.region)
	if err != nil {
		return "", err
	}
	token := newToken()
	tags := d.tags("bake-"+token, token)
	several := false // each try may have made one
	vpc, record, err := ask(ctx, d, kindVPC, p.region, token, func(t *tries) (string, error) {
		out, err := c.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String(vpcAddresses), TagSpecifications: tagged(tags, types.ResourceTypeVpc)}, t.watch)
		if several = t.lost.Load(); err != nil {
			return "", fmt.Errorf("the account has no default VPC, and making one for the build fails (or say where instances run with aws(subnet = \"…\")): %w", err)
		}
		return aws.ToString(out.Vpc.VpcId), nil
	})
	if err != nil {
		return "", err
	}
	p.cleanup.Push(record, func(ctx context.Context) error {
		err := d.deleteVPC(ctx, p.region, vpc, token)
		if err == nil && several {
			_, err = d.collectVPC(ctx, platforms.Resource{Place: p.region, ID: token})
		}
		return err
	})
	return vpc, d.setUpVPC(ctx, c, vpc, tags)
}

// setUpVPC gives a new VPC a subnet whose instances reach the internet.
func (d *driver) setUpVPC(ctx context.Context, c *ec2.Client, vpc string, tags map[string]string) error {
	_, err := c.CreateSubnet(ctx, &ec2.CreateSubnetInput{
		VpcId: aws.String(vpc), CidrBlock: aws.String(subnetAddresses), TagSpecifications: tagged(tags, types.ResourceTypeSubnet),
	}, fresh)
	// In a VPC of bake's own only a try whose answer was lost can have been first; of
	// two gateways one is attached, and both go by their tags.
	if err = unless(err, "InvalidSubnet.Conflict"); err != nil {
		return fmt.Errorf("make a subnet: %w", err)
	}
	gateway, err := c.CreateInternetGateway(ctx, &ec2.CreateInternetGatewayInput{TagSpecifications: tagged(tags, types.ResourceTypeInternetGateway)})
	if err != nil {
		return fmt.Errorf("make an internet gateway: %w", err)
	}
	id := gateway.InternetGateway.InternetGatewayId
	_, err = c.AttachInternetGateway(ctx, &ec2.AttachInternetGatewayInput{InternetGatewayId: id, VpcId: aws.String(vpc)}, fresh)
	if err := unless(err, "Resource.AlreadyAssociated"); err != nil {
		return fmt.Errorf("attach the internet gateway: %w", err)
	}
	tables, err := c.DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{Filters: []types.Filter{filter("vpc-id", vpc)}})
	if err != nil {
		return fmt.Errorf("look for the route table: %w", err)
	}
	if len(tables.RouteTables) == 0 {
		return fmt.Errorf("the VPC %s has no route table", vpc)
	}
	_, err = c.CreateRoute(ctx, &ec2.CreateRouteInput{
		RouteTableId: tables.RouteTables[0].RouteTableId, DestinationCidrBlock: aws.String("0.0.0.0/0"), GatewayId: id,
	}, fresh)
	if err := unless(err, "RouteAlreadyExists"); err != nil {
		return fmt.Errorf("make the route to the internet: %w", err)
	}
	return nil
}

// deleteVPC removes a VPC of a build's own with its parts.
func (d *driver) deleteVPC(ctx context.Context, region, vpc, token string) error {
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return err
	}
	fail := func(err error) error { return fmt.Errorf("%s: delete the VPC %s: %w", region, vpc, err) }
	subnets, err := c.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: []types.Filter{filter("vpc-id", vpc)}})
	if err != nil {
		return fail(err)
	}
	for _, s := range subnets.Subnets {
		// The network interface of an instance goes a while after the instance.
		err := d.retried(ctx, region+": delete the subnet "+aws.ToString(s.SubnetId), func() error {
			_, err := c.DeleteSubnet(ctx, &ec2.DeleteSubnetInput{SubnetId: s.SubnetId})
			return unless(err, "InvalidSubnetID.NotFound")
		})
		if err != nil {
			return err
		}
	}
	gateways, err := c.DescribeInternetGateways(ctx, &ec2.DescribeInternetGatewaysInput{Filters: []types.Filter{filter("tag:"+tagToken, token)}})
	if err != nil {
		return fail(err)
	}
	for _, g := range gateways.InternetGateways {
		_, err := c.DetachInternetGateway(ctx, &ec2.DetachInternetGatewayInput{InternetGatewayId: g.InternetGatewayId, VpcId: aws.String(vpc)})
		if err := unless(err, "Gateway.NotAttached"); err != nil {
			return fail(err)
		}
		_, err = c.DeleteInternetGateway(ctx, &ec2.DeleteInternetGatewayInput{InternetGatewayId: g.InternetGatewayId})
		if err := unless(err, "InvalidInternetGatewayID.NotFound"); err != nil {
			return fail(err)
		}
	}
	return d.retried(ctx, fmt.Sprintf("%s: delete the VPC %s", region, vpc), func() error {
		_, err := c.DeleteVpc(ctx, &ec2.DeleteVpcInput{VpcId: aws.String(vpc)})
		return unless(err, "InvalidVpcID.NotFound")
	})
}

// unless returns err, or nil for an answer of AWS with one of the codes.
func unless(err error, codes ...string) error {
	if hasCode(err, codes...) {
		return nil
	}
	return err
}

// retried removes something, as soon as nothing depends on it any more.
func (d *driver) retried(ctx context.Context, what string, remove func() error) error {
	return d.loop(what, endTimeout, 0).Until(ctx, func(context.Context) (bool, error) {
		err := remove()
		if hasCode(err, "DependencyViolation", "InvalidGroup.InUse") {
			return false, nil
		}
		return err == nil, err
	})
}

// collectVPC removes VPCs of a token and, before them, what bake has put there.
func (d *driver) collectVPC(ctx context.Context, r platforms.Resource) (got platforms.Collected, err error) {
	c, err := d.clients.ec2(ctx, r.Place)
	if err != nil {
		return got, err
	}
	out, err := c.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: []types.Filter{filter("tag:"+tagToken, r.ID)}})
	if err != nil {
		return got, fmt.Errorf("%s: look for VPCs: %w", r.Place, err)
	}
	for _, v := range out.Vpcs {
		groups, err := d.findGroups(ctx, r.Place, filter("vpc-id", aws.ToString(v.VpcId)), filter("tag-key", tagBuild))
		if err != nil {
			return got, err
		}
		for _, g := range groups {
			in := r
			in.Kind, in.ID = kindGroup, aws.ToString(g.GroupName)
			if _, err := d.collectGroup(ctx, in); err != nil {
				return got, err
			}
		}
		if err := d.deleteVPC(ctx, r.Place, aws.ToString(v.VpcId), r.ID); err != nil {
			return got, err
		}
		got.Removed = true
	}
	return got, nil
}
