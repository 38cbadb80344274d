package awstest

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// Regions are those that the account can use, and a region that it has not
// enabled.
var (
	Regions    = []string{"eu-central-1", "eu-west-1", "us-east-1"}
	NotEnabled = "ap-east-1"
)

// An Image is an AMI in one region. What it was registered with is in Form.
type Image struct {
	ID, Name, Region string
	Snapshot         string
	Tags             map[string]string
	Created          time.Time
	Permissions      []string // who may launch it
	Deprecated       string   // the time, as it was asked for
	Protected        bool
	Form             url.Values
	Owner            string   // "self", or an account
	Architecture     string   // as AWS names it
	Device           string   // the root device
	ProductCode      string   // of AWS Marketplace; "" for none
	UsageOperation   string   // what is billed; "" for instances of Linux alone
	Failed           bool     // it could not be made
	Volumes          []string // devices of further volumes

	looks int
}

// Images returns the images of a region, the oldest first.
func (c *Cloud) Images(region string) []Image {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []Image
	for _, i := range c.inRegion(region) {
		list = append(list, *i)
	}
	return list
}

func (c *Cloud) inRegion(region string) []*Image {
	list := slices.DeleteFunc(slices.Collect(maps.Values(c.images)), func(i *Image) bool { return i.Region != region })
	slices.SortFunc(list, func(a, b *Image) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// Template makes a launch template that names an image.
func (c *Cloud) Template(image string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.templates[c.id("lt")] = image
}

func (c *Cloud) ec2(action string) operation {
	return map[string]operation{
		"GetCallerIdentity":                    c.callerIdentity,
		"AssumeRole":                           c.assumeRole,
		"DescribeRegions":                      c.describeRegions,
		"DescribeImages":                       c.describeImages,
		"RegisterImage":                        c.registerImage,
		"CopyImage":                            c.copyImage,
		"DeregisterImage":                      c.deregisterImage,
		"DescribeImageAttribute":               c.describeImageAttribute,
		"ModifyImageAttribute":                 c.modifyImageAttribute,
		"EnableImageDeprecation":               c.enableImageDeprecation,
		"EnableImageDeregistrationProtection":  c.protectImage,
		"DisableImageDeprecation":              c.changeImage(func(i *Image) { i.Deprecated = "" }),
		"DisableImageDeregistrationProtection": c.changeImage(func(i *Image) { i.Protected = false }),
		"DeleteTags":                           c.deleteTags,
		"DescribeSnapshots":                    c.describeSnapshots,
		"DeleteSnapshot":                       c.deleteSnapshot,
		"CreateTags":                           c.createTags,
		"DescribeLaunchConfigurations":         c.describeConfigurations,
		"DescribeFleets":                       c.describeFleets,
		"DescribeSpotFleetRequests":            c.describeSpotFleets,
		"GetEbsEncryptionByDefault":            c.encryptionByDefault,
		"GetEbsDefaultKmsKeyId":                c.defaultKey,
		"GetImageBlockPublicAccessState":       c.imageBlock,
		"GetSnapshotBlockPublicAccessState":    c.snapshotBlock,
		"ModifySnapshotAttribute":              c.modifySnapshotAttribute,
		"DescribeSnapshotAttribute":            c.describeSnapshotAttribute,
		"DescribeInstances":                    c.describeInstances,
		"RunInstances":                         c.runInstances,
		"TerminateInstances":                   c.terminateInstances,
		"GetConsoleOutput":                     c.consoleOutput,
		"DescribeVpcs":                         c.describeVPCs,
		"DescribeSubnets":                      c.describeSubnets,
		"CreateVpc":                            c.createVPC,
		"DeleteVpc":                            c.deleteVPC,
		"CreateSubnet":                         c.createSubnet,
		"DeleteSubnet":                         c.deleteSubnet,
		"CreateInternetGateway":                c.createGateway,
		"AttachInternetGateway":                c.attachGateway,
		"DescribeInternetGateways":             c.describeGateways,
		"DetachInternetGateway":                c.detachGateway,
		"DeleteInternetGateway":                c.deleteGateway,
		"DescribeRouteTables":                  c.describeRoutes,
		"CreateRoute":                          c.createRoute,
		"CreateSecurityGroup":                  c.createGroup,
		"AuthorizeSecurityGroupIngress":        c.authorizeIngress,
		"DescribeSecurityGroups":               c.describeGroups,
		"DeleteSecurityGroup":                  c.deleteGroup,
		"ImportKeyPair":                        c.importKeyPair,
		"DescribeKeyPairs":                     c.describeKeyPairs,
		"DeleteKeyPair":                        c.deleteKeyPair,
		"DescribeVolumes":                      c.describeVolumes,
		"DeleteVolume":                         c.deleteVolume,
		"CreateSnapshot":                       c.createSnapshot,
		"CreateImage":                          c.createImage,
		"DescribeLaunchTemplates":              c.describeTemplates,
		"DescribeLaunchTemplateVersions":       c.describeTemplateVersions,
	}[action]
}

// stamp is how EC2 writes times.
const stamp = "2006-01-02T15:04:05.000Z"

func text(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder never fails
	return b.String()
}

func element(name string, kids ...string) string {
	return "<" + name + ">" + strings.Join(kids, "") + "</" + name + ">"
}

func xmlAnswer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprint(w, xml.Header, body) // the client may have gone
}

func ok(w http.ResponseWriter, call Call, kids ...string) {
	xmlAnswer(w, http.StatusOK, element(call.Op+"Response", append([]string{element("requestId", "request")}, kids...)...))
}

func done(w http.ResponseWriter, call Call) { ok(w, call, element("return", "true")) }

// list returns the values Name.1, Name.2 and so on.
func list(form url.Values, name string) []string {
	var all []string
	for i := 1; form.Has(fmt.Sprintf("%s.%d", name, i)); i++ {
		all = append(all, form.Get(fmt.Sprintf("%s.%d", name, i)))
	}
	return all
}

// tagsFor returns the tags that a request gives to a kind of resource.
func tagsFor(form url.Values, kind string) map[string]string {
	tags := map[string]string{}
	for i := 1; form.Has(fmt.Sprintf("TagSpecification.%d.ResourceType", i)); i++ {
		if p := fmt.Sprintf("TagSpecification.%d", i); form.Get(p+".ResourceType") == kind {
			maps.Copy(tags, tagList(form, p+".Tag"))
		}
	}
	return tags
}

func tagList(form url.Values, name string) map[string]string {
	tags := map[string]string{}
	for i := 1; form.Has(fmt.Sprintf("%s.%d.Key", name, i)); i++ {
		tags[form.Get(fmt.Sprintf("%s.%d.Key", name, i))] = form.Get(fmt.Sprintf("%s.%d.Value", name, i))
	}
	return tags
}

func tagSet(tags map[string]string) string {
	var items []string
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		items = append(items, element("item", element("key", text(k)), element("value", text(tags[k]))))
	}
	return element("tagSet", items...)
}

// fits reports whether a resource of some attributes and tags fits all filters. A
// filter of what has no such attribute fits nothing, so that one that is misspelled
// is noticed.
func fits(form url.Values, attributes map[string]string, tags map[string]string) bool {
	for i := 1; form.Has(fmt.Sprintf("Filter.%d.Name", i)); i++ {
		values := list(form, fmt.Sprintf("Filter.%d.Value", i))
		name := form.Get(fmt.Sprintf("Filter.%d.Name", i))
		value, has := attributes[name]
		if tag, isTag := strings.CutPrefix(name, "tag:"); isTag {
			value, has = tags[tag]
		}
		switch {
		case name == "tag-key" && slices.ContainsFunc(values, func(k string) bool { _, ok := tags[k]; return ok }):
		case has && slices.ContainsFunc(values, func(pattern string) bool { ok, err := path.Match(pattern, value); return ok && err == nil }):
		default:
			return false
		}
	}
	return true
}

func (c *Cloud) describeRegions(w http.ResponseWriter, call Call) {
	var items []string
	for _, r := range Regions {
		items = append(items, element("item", element("regionName", r), element("optInStatus", "opt-in-not-required")))
	}
	items = append(items, element("item", element("regionName", NotEnabled), element("optInStatus", "not-opted-in")))
	ok(w, call, element("regionInfo", items...))
}

func (c *Cloud) describeImages(w http.ResponseWriter, call Call) {
	ids, owners := list(call.Form, "ImageId"), list(call.Form, "Owner")
	var items []string
	for _, i := range c.inRegion(call.Region) {
		state := "available"
		if i.looks < c.Pending {
			state = "pending"
		}
		if i.Failed {
			state = "failed"
		}
		attributes := map[string]string{
			"block-device-mapping.snapshot-id": i.Snapshot,
			"name":                             i.Name, "state": state, "architecture": i.Architecture, "root-device-type": "ebs",
			"product-code": i.ProductCode, "product-code.type": "marketplace",
		}
		if len(ids) > 0 && !slices.Contains(ids, i.ID) || len(owners) > 0 && !slices.Contains(owners, i.Owner) || !fits(call.Form, attributes, i.Tags) || !c.shows(call, i) {
			continue
		}
		i.looks++
		codes := ""
		if i.ProductCode != "" {
			codes = element("productCodes", element("item", element("productCode", i.ProductCode), element("type", "marketplace")))
		}
		size, encrypted := int64(1), false
		if s := c.snapshots[i.Snapshot]; s != nil {
			size, encrypted = s.gib, s.encrypted
		}
		items = append(items, element("item",
			element("imageId", i.ID), element("name", text(i.Name)), element("imageState", state), element("architecture", i.Architecture),
			element("imageOwnerId", i.Owner), element("rootDeviceType", "ebs"), codes, element("usageOperation", cmp.Or(i.UsageOperation, "RunInstances")),
			deprecation(i), element("creationDate", i.Created.UTC().Format(stamp)), element("rootDeviceName", i.Device),
			element("blockDeviceMapping", element("item", element("deviceName", i.Device), element("ebs",
				element("snapshotId", i.Snapshot), element("volumeSize", fmt.Sprint(size)), element("encrypted", fmt.Sprint(encrypted)))), further(i)),
			tagSet(i.Tags)))
	}
	if len(ids) > 0 && (len(items) == 0 || !c.knows(ids[0])) {
		refuse(w, call, 400, "InvalidAMIID.NotFound", "The image id '[%s]' does not exist", ids[0])
		return
	}
	ok(w, call, element("imagesSet", items...))
}

func deprecation(i *Image) string {
	if i.Deprecated == "" {
		return ""
	}
	return element("deprecationTime", i.Deprecated)
}

func (c *Cloud) add(w http.ResponseWriter, call Call, i *Image) {
	for _, other := range c.inRegion(call.Region) {
		if other.Name == i.Name {
			refuse(w, call, 400, "InvalidAMIName.Duplicate", "AMI name %s is already in use by AMI %s", i.Name, other.ID)
			return
		}
	}
	i.ID, i.Region, i.Created, i.Form, i.Owner = c.id("ami"), call.Region, time.Now(), call.Form, "self"
	i.Device, i.Architecture = cmp.Or(i.Device, "/dev/xvda"), cmp.Or(i.Architecture, "x86_64")
	c.images[i.ID] = i
	c.new(i.ID)
	ok(w, call, element("imageId", i.ID))
}

func (c *Cloud) registerImage(w http.ResponseWriter, call Call) {
	id := call.Form.Get("BlockDeviceMapping.1.Ebs.SnapshotId")
	s := c.snapshots[id]
	switch {
	case call.Form.Get("DryRun") == "true":
		refuse(w, call, 412, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
	case s == nil || s.region != call.Region:
		refuse(w, call, 400, "InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", id)
	case s.state(c.Pending) != "completed":
		refuse(w, call, 400, "IncorrectState", "The snapshot '%s' is not completed", id)
	case s.code != "":
		refuse(w, call, 400, "InvalidRequest", "The snapshot '%s' has product codes", id)
	default:
		c.add(w, call, &Image{
			Name: call.Form.Get("Name"), Snapshot: id, Tags: tagsFor(call.Form, "image"),
			Architecture: call.Form.Get("Architecture"), Device: call.Form.Get("RootDeviceName"),
		})
	}
}

func (c *Cloud) copyImage(w http.ResponseWriter, call Call) {
	if call.Form.Get("DryRun") == "true" {
		refuse(w, call, 412, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
		return
	}
	owner, from := c.source(call.Form.Get("SourceImageId"))
	if from == nil || from.Region != call.Form.Get("SourceRegion") || from.looks < c.Pending {
		refuse(w, call, 400, "InvalidRequest", "The image is not there, or not available")
		return
	}
	if id := c.tokens[call.Form.Get("ClientToken")]; id != "" {
		ok(w, call, element("imageId", id))
		return
	}
	s := *owner.snapshots[from.Snapshot]
	s.region, s.tags, s.begun, s.looks = call.Region, tagsFor(call.Form, "snapshot"), time.Now(), 0
	s.users = nil
	if asked := call.Form.Get("Encrypted") == "true"; asked || !s.encrypted {
		s.encrypted, s.kmsKey = c.encrypts(call.Region, asked, call.Form.Get("KmsKeyId"))
	}
	id := c.id("snap")
	c.snapshots[id] = &s
	made := &Image{
		Name: call.Form.Get("Name"), Snapshot: id, Tags: tagsFor(call.Form, "image"), Architecture: from.Architecture, Device: from.Device, Volumes: from.Volumes, ProductCode: from.ProductCode,
	}
	if c.add(w, call, made); made.ID != "" {
		c.tokens[call.Form.Get("ClientToken")] = made.ID
	} else {
		delete(c.snapshots, id)
	}
}

// image returns the image that a request is about, or refuses it.
func (c *Cloud) image(w http.ResponseWriter, call Call) *Image {
	i := c.images[call.Form.Get("ImageId")]
	if i == nil || i.Region != call.Region || !c.knows(i.ID) {
		refuse(w, call, 400, "InvalidAMIID.NotFound", "The image id '[%s]' does not exist", call.Form.Get("ImageId"))
		return nil
	}
	return i
}

func (c *Cloud) deregisterImage(w http.ResponseWriter, call Call) {
	i := c.image(w, call)
	switch {
	case i == nil:
	case i.Protected:
		refuse(w, call, 400, "OperationNotPermitted", "The image is protected from being deregistered")
	default:
		delete(c.images, i.ID)
		c.lingers[i.Snapshot] = c.Lingering
		done(w, call)
	}
}

func (c *Cloud) describeImageAttribute(w http.ResponseWriter, call Call) {
	i := c.image(w, call)
	if i == nil {
		return
	}
	var items []string
	for _, who := range i.Permissions {
		items = append(items, element("item", element(permissionKind(who), text(who))))
	}
	ok(w, call, element("imageId", i.ID), element("launchPermission", items...))
}

func permissionKind(who string) string {
	switch {
	case who == "all":
		return "group"
	case strings.Contains(who, ":ou/"):
		return "organizationalUnitArn"
	case strings.HasPrefix(who, "arn:"):
		return "organizationArn"
	}
	return "userId"
}

func (c *Cloud) enableImageDeprecation(w http.ResponseWriter, call Call) {
	i := c.image(w, call)
	if i == nil {
		return
	}
	if at, err := time.Parse(time.RFC3339, call.Form.Get("DeprecateAt")); err != nil || at.Before(time.Now()) || at.After(time.Now().AddDate(10, 0, 0)) {
		refuse(w, call, 400, "InvalidParameter", "DeprecateAt is in the past, or too far in the future")
		return
	}
	i.Deprecated = call.Form.Get("DeprecateAt")
	done(w, call)
}

func (c *Cloud) protectImage(w http.ResponseWriter, call Call) {
	if i := c.image(w, call); i != nil {
		i.Protected = true
		done(w, call)
	}
}

// changeImage answers a request that changes one thing of an image.
func (c *Cloud) changeImage(change func(*Image)) func(http.ResponseWriter, Call) {
	return func(w http.ResponseWriter, call Call) {
		if i := c.image(w, call); i != nil {
			change(i)
			done(w, call)
		}
	}
}

func (c *Cloud) describeSnapshots(w http.ResponseWriter, call Call) {
	ids := list(call.Form, "SnapshotId")
	var items []string
	for _, id := range slices.Sorted(maps.Keys(c.snapshots)) {
		s := c.snapshots[id]
		if s.region != call.Region || len(ids) > 0 && !slices.Contains(ids, id) || !fits(call.Form, map[string]string{"status": s.state(c.Pending), "snapshot-id": id}, s.tags) {
			continue
		}
		if s.done {
			s.looks++
		}
		items = append(items, element("item",
			element("snapshotId", id), element("status", s.state(c.Pending)), element("volumeSize", fmt.Sprint(s.gib)),
			element("encrypted", fmt.Sprint(s.encrypted)), element("kmsKeyId", s.kmsKey),
			element("startTime", s.begun.UTC().Format(stamp)), tagSet(s.tags)))
	}
	if len(ids) > 0 && len(items) == 0 {
		refuse(w, call, 400, "InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", ids[0])
		return
	}
	ok(w, call, element("snapshotSet", items...))
}

func (c *Cloud) deleteSnapshot(w http.ResponseWriter, call Call) {
	id := call.Form.Get("SnapshotId")
	s := c.snapshots[id]
	if s == nil || s.region != call.Region {
		refuse(w, call, 400, "InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", id)
		return
	}
	for _, i := range c.images {
		if i.Snapshot == id {
			refuse(w, call, 400, "InvalidSnapshot.InUse", "The snapshot %s is currently in use by %s", id, i.ID)
			return
		}
	}
	if c.lingers[id] > 0 {
		c.lingers[id]--
		refuse(w, call, 400, "InvalidSnapshot.InUse", "The snapshot %s is currently in use by an image", id)
		return
	}
	delete(c.snapshots, id)
	done(w, call)
}

func (c *Cloud) createTags(w http.ResponseWriter, call Call) {
	for _, id := range list(call.Form, "ResourceId") {
		tags := c.tagsOf(id)
		if tags == nil || !c.knows(id) {
			refuse(w, call, 400, "InvalidID", "The ID '%s' is not valid", id)
			return
		}
		maps.Copy(tags, tagList(call.Form, "Tag"))
	}
	done(w, call)
}

// deleteTags removes tags by their names, whatever their values are.
func (c *Cloud) deleteTags(w http.ResponseWriter, call Call) {
	for _, id := range list(call.Form, "ResourceId") {
		tags := c.tagsOf(id)
		if tags == nil || !c.knows(id) {
			refuse(w, call, 400, "InvalidID", "The ID '%s' is not valid", id)
			return
		}
		for name := range tagList(call.Form, "Tag") {
			delete(tags, name)
		}
	}
	done(w, call)
}

func (c *Cloud) describeTemplates(w http.ResponseWriter, call Call) {
	var items []string
	for _, id := range slices.Sorted(maps.Keys(c.templates)) {
		items = append(items, element("item", element("launchTemplateId", id)))
	}
	ok(w, call, element("launchTemplates", items...))
}

func (c *Cloud) describeTemplateVersions(w http.ResponseWriter, call Call) {
	image := c.templates[call.Form.Get("LaunchTemplateId")]
	ok(w, call, element("launchTemplateVersionSet", element("item", element("launchTemplateData", element("imageId", image)))))
}
