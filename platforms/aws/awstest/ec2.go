package awstest

import (
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/url"
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

// Launch starts an instance of an image.
func (c *Cloud) Launch(image string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.instances[c.id("i")] = image
}

// Template makes a launch template that names an image.
func (c *Cloud) Template(image string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.templates[c.id("lt")] = image
}

func (c *Cloud) ec2(action string) operation {
	return map[string]operation{
		"DescribeRegions":                     c.describeRegions,
		"DescribeImages":                      c.describeImages,
		"RegisterImage":                       c.registerImage,
		"CopyImage":                           c.copyImage,
		"DeregisterImage":                     c.deregisterImage,
		"DescribeImageAttribute":              c.describeImageAttribute,
		"ModifyImageAttribute":                c.modifyImageAttribute,
		"EnableImageDeprecation":              c.enableImageDeprecation,
		"EnableImageDeregistrationProtection": c.protectImage,
		"DescribeSnapshots":                   c.describeSnapshots,
		"DeleteSnapshot":                      c.deleteSnapshot,
		"CreateTags":                          c.createTags,
		"DescribeInstances":                   c.describeInstances,
		"DescribeLaunchTemplates":             c.describeTemplates,
		"DescribeLaunchTemplateVersions":      c.describeTemplateVersions,
	}[action]
}

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

// fits reports whether a resource of a name and tags fits all filters.
func fits(form url.Values, name string, tags map[string]string) bool {
	for i := 1; form.Has(fmt.Sprintf("Filter.%d.Name", i)); i++ {
		values := list(form, fmt.Sprintf("Filter.%d.Value", i))
		filter := form.Get(fmt.Sprintf("Filter.%d.Name", i))
		tag, isTag := strings.CutPrefix(filter, "tag:")
		value, has := tags[tag]
		switch {
		case isTag && has && slices.Contains(values, value):
		case filter == "name" && slices.Contains(values, name):
		case filter == "tag-key" && slices.ContainsFunc(values, func(k string) bool { _, ok := tags[k]; return ok }):
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
	ids := list(call.Form, "ImageId")
	var items []string
	for _, i := range c.inRegion(call.Region) {
		if len(ids) > 0 && !slices.Contains(ids, i.ID) || !fits(call.Form, i.Name, i.Tags) {
			continue
		}
		state := "available"
		if i.looks++; i.looks <= c.Pending {
			state = "pending"
		}
		items = append(items, element("item",
			element("imageId", i.ID), element("name", text(i.Name)), element("imageState", state),
			element("creationDate", i.Created.UTC().Format("2006-01-02T15:04:05.000Z")), element("rootDeviceName", "/dev/xvda"),
			element("blockDeviceMapping", element("item", element("deviceName", "/dev/xvda"), element("ebs", element("snapshotId", i.Snapshot)))),
			tagSet(i.Tags)))
	}
	if len(ids) > 0 && len(items) == 0 {
		refuse(w, call, 400, "InvalidAMIID.NotFound", "The image id '[%s]' does not exist", ids[0])
		return
	}
	ok(w, call, element("imagesSet", items...))
}

func (c *Cloud) add(w http.ResponseWriter, call Call, i *Image) {
	for _, other := range c.inRegion(call.Region) {
		if other.Name == i.Name {
			refuse(w, call, 400, "InvalidAMIName.Duplicate", "AMI name %s is already in use by AMI %s", i.Name, other.ID)
			return
		}
	}
	i.ID, i.Region, i.Created, i.Form = c.id("ami"), call.Region, time.Now(), call.Form
	c.images[i.ID] = i
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
	default:
		c.add(w, call, &Image{Name: call.Form.Get("Name"), Snapshot: id, Tags: tagsFor(call.Form, "image")})
	}
}

func (c *Cloud) copyImage(w http.ResponseWriter, call Call) {
	if call.Form.Get("DryRun") == "true" {
		refuse(w, call, 412, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
		return
	}
	from := c.images[call.Form.Get("SourceImageId")]
	if from == nil || from.Region != call.Form.Get("SourceRegion") || from.looks <= c.Pending {
		refuse(w, call, 400, "InvalidRequest", "The image is not there, or not available")
		return
	}
	if id := c.tokens[call.Form.Get("ClientToken")]; id != "" {
		ok(w, call, element("imageId", id))
		return
	}
	s := *c.snapshots[from.Snapshot]
	s.region, s.tags, s.begun, s.looks = call.Region, tagsFor(call.Form, "snapshot"), time.Now(), 0
	s.encrypted = s.encrypted || call.Form.Get("Encrypted") == "true"
	id := c.id("snap")
	c.snapshots[id] = &s
	c.add(w, call, &Image{Name: call.Form.Get("Name"), Snapshot: id, Tags: tagsFor(call.Form, "image")})
}

// image returns the image that a request is about, or refuses it.
func (c *Cloud) image(w http.ResponseWriter, call Call) *Image {
	i := c.images[call.Form.Get("ImageId")]
	if i == nil || i.Region != call.Region {
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

func (c *Cloud) modifyImageAttribute(w http.ResponseWriter, call Call) {
	i := c.image(w, call)
	if i == nil {
		return
	}
	for name := range call.Form {
		parts := strings.Split(name, ".")
		if len(parts) != 4 || parts[0] != "LaunchPermission" {
			continue
		}
		who := call.Form.Get(name)
		i.Permissions = slices.DeleteFunc(i.Permissions, func(p string) bool { return p == who })
		if parts[1] == "Add" {
			i.Permissions = append(i.Permissions, who)
		}
	}
	slices.Sort(i.Permissions)
	done(w, call)
}

func (c *Cloud) enableImageDeprecation(w http.ResponseWriter, call Call) {
	if i := c.image(w, call); i != nil {
		i.Deprecated = call.Form.Get("DeprecateAt")
		done(w, call)
	}
}

func (c *Cloud) protectImage(w http.ResponseWriter, call Call) {
	if i := c.image(w, call); i != nil {
		i.Protected = true
		done(w, call)
	}
}

func (c *Cloud) describeSnapshots(w http.ResponseWriter, call Call) {
	ids := list(call.Form, "SnapshotId")
	var items []string
	for _, id := range slices.Sorted(maps.Keys(c.snapshots)) {
		s := c.snapshots[id]
		if s.region != call.Region || len(ids) > 0 && !slices.Contains(ids, id) || !fits(call.Form, "", s.tags) {
			continue
		}
		if s.done {
			s.looks++
		}
		items = append(items, element("item",
			element("snapshotId", id), element("status", s.state(c.Pending)), element("volumeSize", fmt.Sprint(s.gib)),
			element("startTime", s.begun.UTC().Format("2006-01-02T15:04:05.000Z")), tagSet(s.tags)))
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
	delete(c.snapshots, id)
	done(w, call)
}

func (c *Cloud) createTags(w http.ResponseWriter, call Call) {
	for _, id := range list(call.Form, "ResourceId") {
		tags := c.tagsOf(id)
		if tags == nil {
			refuse(w, call, 400, "InvalidID", "The ID '%s' is not valid", id)
			return
		}
		maps.Copy(tags, tagList(call.Form, "Tag"))
	}
	done(w, call)
}

func (c *Cloud) describeInstances(w http.ResponseWriter, call Call) {
	wanted := list(call.Form, "Filter.1.Value")
	var items []string
	for _, id := range slices.Sorted(maps.Keys(c.instances)) {
		if slices.Contains(wanted, c.instances[id]) {
			items = append(items, element("item", element("instanceId", id), element("instanceState", element("name", "running"))))
		}
	}
	ok(w, call, element("reservationSet", element("item", element("instancesSet", items...))))
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
