package awstest

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
)

// The account has one VPC with one subnet in each region, which are called the same.
const (
	VPC    = "vpc-00000000000000001"
	Subnet = "subnet-00000000000000001"
	cidr   = "127.84.0.0/16"
)

// A network is a VPC, or a subnet or a gateway in one.
type network struct {
	region string // "" for all
	vpc    string // of a subnet; of a gateway, once it is attached
	cidr   string
	tags   map[string]string
	isOurs bool // it was there before
	routed bool // a VPC has a route to the internet
}

// NoDefaultVPC removes the default VPC.
func (c *Cloud) NoDefaultVPC() {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.vpcs, VPC)
	delete(c.subnets, Subnet)
}

// Routed reports whether a VPC that was made has a route to the internet.
func (c *Cloud) Routed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(slices.Collect(maps.Values(c.vpcs)), func(n *network) bool { return n.routed })
}

func (c *Cloud) firstNetworks() {
	c.vpcs = map[string]*network{VPC: {cidr: cidr, isOurs: true}}
	c.subnets = map[string]*network{Subnet: {vpc: VPC, cidr: cidr, isOurs: true}}
	c.gateways = map[string]*network{}
}

// ownNetworks lists what was made.
func (c *Cloud) ownNetworks() []string {
	var all []string
	for _, list := range []map[string]*network{c.vpcs, c.subnets, c.gateways} {
		for id, n := range list {
			if !n.isOurs {
				all = append(all, id)
			}
		}
	}
	return all
}

// each calls f for those of a region that fit the filters, in order.
func each(list map[string]*network, call Call, f func(id string, n *network)) {
	for _, id := range slices.Sorted(maps.Keys(list)) {
		n := list[id]
		attributes := map[string]string{"vpc-id": n.vpc, "state": "available", "is-default": fmt.Sprint(n.isOurs)}
		if (n.region == "" || n.region == call.Region) && fits(call.Form, attributes, n.tags) {
			f(id, n)
		}
	}
}

func (c *Cloud) describeVPCs(w http.ResponseWriter, call Call) {
	var items []string
	each(c.vpcs, call, func(id string, n *network) {
		items = append(items, element("item", element("vpcId", id), element("isDefault", fmt.Sprint(n.isOurs)), element("cidrBlock", n.cidr), tagSet(n.tags)))
	})
	ok(w, call, element("vpcSet", items...))
}

func (c *Cloud) describeSubnets(w http.ResponseWriter, call Call) {
	ids := list(call.Form, "SubnetId")
	var items []string
	each(c.subnets, call, func(id string, n *network) {
		if len(ids) == 0 || slices.Contains(ids, id) {
			items = append(items, element("item", element("subnetId", id), element("vpcId", n.vpc), element("cidrBlock", n.cidr), element("availableIpAddressCount", "250")))
		}
	})
	if len(ids) > 0 && len(items) == 0 {
		refuse(w, call, 400, "InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist", ids[0])
		return
	}
	ok(w, call, element("subnetSet", items...))
}

// vpc returns the VPC that a request is about, or refuses it.
func (c *Cloud) vpc(w http.ResponseWriter, call Call) *network {
	v := c.vpcs[call.Form.Get("VpcId")]
	if v == nil || v.region != "" && v.region != call.Region {
		refuse(w, call, 400, "InvalidVpcID.NotFound", "The vpc ID '%s' does not exist", call.Form.Get("VpcId"))
		return nil
	}
	return v
}

func (c *Cloud) createVPC(w http.ResponseWriter, call Call) {
	id := c.id("vpc")
	c.vpcs[id] = &network{region: call.Region, cidr: call.Form.Get("CidrBlock"), tags: tagsFor(call.Form, "vpc")}
	ok(w, call, element("vpc", element("vpcId", id)))
}

func (c *Cloud) createSubnet(w http.ResponseWriter, call Call) {
	if c.vpc(w, call) == nil {
		return
	}
	id := c.id("subnet")
	// The machines of instances are on the loopback, whatever their subnet says.
	c.subnets[id] = &network{region: call.Region, vpc: call.Form.Get("VpcId"), cidr: cidr, tags: tagsFor(call.Form, "subnet")}
	ok(w, call, element("subnet", element("subnetId", id)))
}

func (c *Cloud) createGateway(w http.ResponseWriter, call Call) {
	id := c.id("igw")
	c.gateways[id] = &network{region: call.Region, tags: tagsFor(call.Form, "internet-gateway")}
	ok(w, call, element("internetGateway", element("internetGatewayId", id)))
}

func (c *Cloud) attachGateway(w http.ResponseWriter, call Call) {
	g := c.gateways[call.Form.Get("InternetGatewayId")]
	if c.vpc(w, call) == nil {
		return
	}
	if g == nil || g.vpc != "" {
		refuse(w, call, 400, "InvalidInternetGatewayID.NotFound", "no such gateway, or it is attached")
		return
	}
	g.vpc = call.Form.Get("VpcId")
	done(w, call)
}

func (c *Cloud) describeGateways(w http.ResponseWriter, call Call) {
	var items []string
	each(c.gateways, call, func(id string, n *network) {
		items = append(items, element("item", element("internetGatewayId", id), tagSet(n.tags)))
	})
	ok(w, call, element("internetGatewaySet", items...))
}

func (c *Cloud) detachGateway(w http.ResponseWriter, call Call) {
	g := c.gateways[call.Form.Get("InternetGatewayId")]
	if g == nil || g.vpc != call.Form.Get("VpcId") {
		refuse(w, call, 400, "Gateway.NotAttached", "it is not attached")
		return
	}
	g.vpc = ""
	done(w, call)
}

func (c *Cloud) deleteGateway(w http.ResponseWriter, call Call) {
	id := call.Form.Get("InternetGatewayId")
	if g := c.gateways[id]; g == nil || g.vpc != "" {
		refuse(w, call, 400, "DependencyViolation", "no such gateway, or it is attached")
		return
	}
	delete(c.gateways, id)
	done(w, call)
}

func (c *Cloud) describeRoutes(w http.ResponseWriter, call Call) {
	var items []string
	for _, id := range slices.Sorted(maps.Keys(c.vpcs)) {
		if fits(call.Form, map[string]string{"vpc-id": id}, nil) {
			items = append(items, element("item", element("routeTableId", "rtb-"+id)))
		}
	}
	ok(w, call, element("routeTableSet", items...))
}

func (c *Cloud) createRoute(w http.ResponseWriter, call Call) {
	g := c.gateways[call.Form.Get("GatewayId")]
	if g == nil || call.Form.Get("RouteTableId") != "rtb-"+g.vpc || call.Form.Get("DestinationCidrBlock") != "0.0.0.0/0" {
		refuse(w, call, 400, "InvalidRouteTableID.NotFound", "no such route table, or a gateway of another VPC")
		return
	}
	c.vpcs[g.vpc].routed = true
	done(w, call)
}

func (c *Cloud) deleteSubnet(w http.ResponseWriter, call Call) {
	id := call.Form.Get("SubnetId")
	if c.subnets[id] == nil {
		refuse(w, call, 400, "InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist", id)
		return
	}
	for _, i := range c.instances {
		if i.subnet == id && i.state != "terminated" {
			refuse(w, call, 400, "DependencyViolation", "The subnet '%s' has dependencies", id)
			return
		}
	}
	delete(c.subnets, id)
	done(w, call)
}

func (c *Cloud) deleteVPC(w http.ResponseWriter, call Call) {
	id := call.Form.Get("VpcId")
	if c.vpc(w, call) == nil {
		return
	}
	for _, list := range []map[string]*network{c.subnets, c.gateways} {
		for _, n := range list {
			if n.vpc == id {
				refuse(w, call, 400, "DependencyViolation", "The vpc '%s' has dependencies", id)
				return
			}
		}
	}
	for _, g := range c.groups {
		if g.vpc == id {
			refuse(w, call, 400, "DependencyViolation", "The vpc '%s' has dependencies", id)
			return
		}
	}
	delete(c.vpcs, id)
	done(w, call)
}
