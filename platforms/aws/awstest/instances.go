package awstest

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Machines are what instances are. Its methods are called one at a time.
type Machines interface {
	// Start starts the machine of an instance with a disk that Save has returned, or
	// with that of an origin for nil. keys are the lines of authorized_keys and
	// userData what cloud-init would find. It returns the address of the machine.
	Start(instance string, disk any, keys, userData string) (address string, err error)

	// Save returns the disk as it is at this moment.
	Save(instance string) (disk any, err error)

	// Stop ends the machine.
	Stop(instance string)
}

type instance struct {
	region, image, state, address, volume string
	group, subnet                         string
	reason                                [2]string // why it ended, as code and text
	tags                                  map[string]string
	launched                              time.Time
	form                                  url.Values
	looks                                 int // how often it was looked at since its state changed
}

type volume struct {
	region, instance, kmsKey string
	tags                     map[string]string
	gib                      int64
	encrypted, keep          bool // keep says that it outlives its instance
	code                     string
	made                     time.Time
}

type group struct {
	region, name, vpc string
	tags              map[string]string
	from              []string
}

type keyPair struct {
	region, name, key string
	tags              map[string]string
	made              time.Time
}

// An Instance is what tests look at.
type Instance struct {
	ID, Image, State, Address string
	Tags                      map[string]string
	Form                      url.Values // of RunInstances
}

// AddImage makes an AMI that others have made, in a region. Its snapshot is not the
// account's.
func (c *Cloud) AddImage(region string, i Image) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	i.ID, i.Region = c.id("ami"), region
	i.Owner, i.Architecture, i.Device = cmp.Or(i.Owner, "136693071363"), cmp.Or(i.Architecture, "x86_64"), cmp.Or(i.Device, "/dev/xvda")
	if i.Created.IsZero() {
		i.Created = time.Now()
	}
	i.looks = c.Pending
	c.images[i.ID] = &i
	return i.ID
}

// FailImage makes an AMI one that could not be made.
func (c *Cloud) FailImage(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.images[id].Failed = true
}

// Age makes the images of a region older.
func (c *Cloud) Age(region string, by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range c.inRegion(region) {
		i.Created = i.Created.Add(-by)
	}
}

// RemoveImage removes an AMI.
func (c *Cloud) RemoveImage(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.images, id)
}

// Launch starts an instance of an image that is no business of bake's.
func (c *Cloud) Launch(image string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.instances[c.id("i")] = &instance{region: c.images[image].Region, image: image, state: "running", launched: time.Now()}
}

// Instances returns all instances, those that have ended included.
func (c *Cloud) Instances() []Instance {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []Instance
	for _, id := range slices.Sorted(maps.Keys(c.instances)) {
		i := c.instances[id]
		list = append(list, Instance{ID: id, Image: i.image, State: i.state, Address: i.address, Tags: i.tags, Form: i.form})
	}
	return list
}

// Running returns what costs money or has to be cleaned up, but for snapshots and
// images.
func (c *Cloud) Running() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for id, i := range c.instances {
		if i.state != "terminated" {
			all = append(all, id)
		}
	}
	all = slices.Concat(all, slices.Collect(maps.Keys(c.volumes)), slices.Collect(maps.Keys(c.groups)), slices.Collect(maps.Keys(c.keyPairs)), slices.Collect(maps.Keys(c.sessions)), c.ownNetworks())
	slices.Sort(all)
	return all
}

// Groups returns what each security group lets in.
func (c *Cloud) Groups() [][]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all [][]string
	for _, g := range c.groups {
		all = append(all, g.from)
	}
	return all
}

// Interrupt takes an instance back, as AWS does with spot instances.
func (c *Cloud) Interrupt(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end(id, "Server.SpotInstanceTermination", "Server.SpotInstanceTermination: Spot instance termination")
}

// Disk returns what a snapshot holds, as Machines saved it.
func (c *Cloud) Disk(snapshot string) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.snapshots[snapshot].disk
}

// end ends an instance, and its volumes with it.
func (c *Cloud) end(id, code, why string) {
	i := c.instances[id]
	if i.state == "terminated" {
		return
	}
	if c.Machines != nil {
		c.Machines.Stop(id)
	}
	i.state, i.looks, i.reason = "terminated", 0, [2]string{code, why}
	if v := c.volumes[i.volume]; v != nil && !v.keep {
		delete(c.volumes, i.volume)
	}
}

func (c *Cloud) runInstances(w http.ResponseWriter, call Call) {
	f := call.Form
	image, token := c.images[f.Get("ImageId")], f.Get("ClientToken")
	iface := "NetworkInterface.1."
	var denied string
	switch {
	case f.Get("MinCount") != "1" || f.Get("MaxCount") != "1" || token == "" || len(token) > 64:
		denied = "want one instance, and a client token"
	case image == nil || image.Region != call.Region || image.looks < c.Pending || !c.knows(image.ID):
		refuse(w, call, 400, "InvalidAMIID.NotFound", "The image id '[%s]' does not exist", f.Get("ImageId"))
		return
	case c.subnets[f.Get(iface+"SubnetId")] == nil:
		refuse(w, call, 400, "InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist", f.Get(iface+"SubnetId"))
		return
	case c.groups[f.Get(iface+"SecurityGroupId.1")] == nil || !c.knows(f.Get(iface+"SecurityGroupId.1")):
		refuse(w, call, 400, "InvalidGroup.NotFound", "The security group '%s' does not exist", f.Get(iface+"SecurityGroupId.1"))
		return
	case f.Get("KeyName") != "" && (c.keyPairs[call.Region+" "+f.Get("KeyName")] == nil || !c.knows(f.Get("KeyName"))):
		refuse(w, call, 400, "InvalidKeyPair.NotFound", "The key pair '%s' does not exist", f.Get("KeyName"))
		return
	case f.Get("BlockDeviceMapping.1.DeviceName") != image.Device:
		denied = "another root device than the image's"
	}
	if denied != "" {
		refuse(w, call, 400, "InvalidParameterValue", "%s", denied)
		return
	}
	id := c.tokens[token]
	if id == "" {
		var err error
		if id, err = c.launch(call, image); err != nil {
			refuse(w, call, 500, "InternalError", "%v", err)
			return
		}
		c.tokens[token] = id
	}
	ok(w, call, element("instancesSet", c.instanceItem(id)))
}

func (c *Cloud) launch(call Call, image *Image) (string, error) {
	f, id := call.Form, c.id("i")
	disk := any(nil)
	v := &volume{region: call.Region, instance: id, tags: tagsFor(f, "volume"), gib: 1, made: time.Now(), code: image.ProductCode,
		keep: f.Get("BlockDeviceMapping.1.Ebs.DeleteOnTermination") != "true"}
	if s := c.snapshots[image.Snapshot]; s != nil {
		disk, v.gib, v.encrypted, v.kmsKey = s.disk, s.gib, s.encrypted, s.kmsKey
	}
	if asked := f.Get("BlockDeviceMapping.1.Ebs.Encrypted") == "true"; asked || !v.encrypted {
		v.encrypted, v.kmsKey = c.encrypts(call.Region, asked, f.Get("BlockDeviceMapping.1.Ebs.KmsKeyId"))
	}
	i := &instance{
		region: call.Region, image: image.ID, state: "running", address: "127.84.0.1", volume: c.id("vol"), group: f.Get("NetworkInterface.1.SecurityGroupId.1"), subnet: f.Get("NetworkInterface.1.SubnetId"),
		tags: tagsFor(f, "instance"), launched: time.Now(), form: f,
	}
	if c.Machines != nil {
		keys := ""
		if k := c.keyPairs[call.Region+" "+f.Get("KeyName")]; k != nil {
			keys = k.key
		}
		data, err := base64.StdEncoding.DecodeString(f.Get("UserData"))
		if err != nil {
			return "", err
		}
		if i.address, err = c.Machines.Start(id, disk, keys, string(data)); err != nil {
			return "", err
		}
	}
	c.instances[id], c.volumes[i.volume] = i, v
	c.new(id)
	return id, nil
}

func (c *Cloud) instanceItem(id string) string {
	i := c.instances[id]
	state := i.state
	if state == "running" && i.looks < c.Pending {
		state = "pending"
	} else if state == "terminated" && i.looks < c.Pending {
		state = "shutting-down"
	}
	i.looks++
	return element("item",
		element("instanceId", id), element("imageId", i.image), element("instanceState", element("name", state)),
		element("stateReason", element("code", i.reason[0]), element("message", text(i.reason[1]))),
		element("privateIpAddress", i.address), element("ipAddress", i.address), element("rootDeviceName", "/dev/xvda"),
		element("launchTime", i.launched.UTC().Format(stamp)),
		element("blockDeviceMapping", element("item", element("deviceName", "/dev/xvda"), element("ebs", element("volumeId", i.volume)))),
		tagSet(i.tags))
}

func (c *Cloud) describeInstances(w http.ResponseWriter, call Call) {
	ids := list(call.Form, "InstanceId")
	var items []string
	for _, id := range slices.Sorted(maps.Keys(c.instances)) {
		i := c.instances[id]
		attributes := map[string]string{"image-id": i.image, "instance-state-name": i.state, "instance.group-id": i.group}
		if i.region == call.Region && (len(ids) == 0 || slices.Contains(ids, id)) && fits(call.Form, attributes, i.tags) {
			items = append(items, c.instanceItem(id))
		}
	}
	if len(ids) > 0 && len(items) == 0 {
		refuse(w, call, 400, "InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", ids[0])
		return
	}
	ok(w, call, element("reservationSet", element("item", element("instancesSet", items...))))
}

func (c *Cloud) terminateInstances(w http.ResponseWriter, call Call) {
	if dryRun(w, call) {
		return
	}
	for _, id := range list(call.Form, "InstanceId") {
		if i := c.instances[id]; i == nil || i.region != call.Region || !c.knows(id) {
			refuse(w, call, 400, "InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", id)
			return
		}
		c.end(id, "Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown")
	}
	ok(w, call, element("instancesSet"))
}

func dryRun(w http.ResponseWriter, call Call) bool {
	if call.Form.Get("DryRun") != "true" {
		return false
	}
	refuse(w, call, 412, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
	return true
}

func (c *Cloud) consoleOutput(w http.ResponseWriter, call Call) {
	ok(w, call, element("output", base64.StdEncoding.EncodeToString([]byte("booting\r\nlast words on the console\r\n"))))
}

func (c *Cloud) createGroup(w http.ResponseWriter, call Call) {
	if v := c.vpcs[call.Form.Get("VpcId")]; v == nil || v.region != "" && v.region != call.Region {
		refuse(w, call, 400, "InvalidVpcID.NotFound", "The vpc ID '%s' does not exist", call.Form.Get("VpcId"))
		return
	}
	for _, g := range c.groups {
		if g.region == call.Region && g.vpc == call.Form.Get("VpcId") && g.name == call.Form.Get("GroupName") {
			refuse(w, call, 400, "InvalidGroup.Duplicate", "The security group '%s' already exists", g.name)
			return
		}
	}
	id := c.id("sg")
	c.new(id)
	c.groups[id] = &group{region: call.Region, vpc: call.Form.Get("VpcId"), name: call.Form.Get("GroupName"), tags: tagsFor(call.Form, "security-group")}
	ok(w, call, element("groupId", id))
}

func (c *Cloud) authorizeIngress(w http.ResponseWriter, call Call) {
	g := c.groups[call.Form.Get("GroupId")]
	if g == nil || !c.knows(call.Form.Get("GroupId")) || g.region != call.Region || call.Form.Get("IpPermissions.1.FromPort") != "22" || call.Form.Get("IpPermissions.1.ToPort") != "22" {
		refuse(w, call, 400, "InvalidGroup.NotFound", "no such group, or another port than 22")
		return
	}
	for i := 1; call.Form.Has(fmt.Sprintf("IpPermissions.1.IpRanges.%d.CidrIp", i)); i++ {
		g.from = append(g.from, call.Form.Get(fmt.Sprintf("IpPermissions.1.IpRanges.%d.CidrIp", i)))
	}
	done(w, call)
}

func (c *Cloud) describeGroups(w http.ResponseWriter, call Call) {
	var items []string
	for _, id := range slices.Sorted(maps.Keys(c.groups)) {
		if g := c.groups[id]; g.region == call.Region && fits(call.Form, map[string]string{"group-name": g.name, "vpc-id": g.vpc}, g.tags) {
			items = append(items, element("item", element("groupId", id), element("groupName", g.name), tagSet(g.tags)))
		}
	}
	ok(w, call, element("securityGroupInfo", items...))
}

func (c *Cloud) deleteGroup(w http.ResponseWriter, call Call) {
	id := call.Form.Get("GroupId")
	if g := c.groups[id]; g == nil || g.region != call.Region {
		refuse(w, call, 400, "InvalidGroup.NotFound", "The security group '%s' does not exist", id)
		return
	}
	for _, i := range c.instances {
		if i.group == id && (i.state != "terminated" || i.looks < c.Pending) {
			i.looks++
			refuse(w, call, 400, "DependencyViolation", "resource %s has a dependent object", id)
			return
		}
	}
	delete(c.groups, id)
	done(w, call)
}

func (c *Cloud) importKeyPair(w http.ResponseWriter, call Call) {
	name := call.Form.Get("KeyName")
	key, err := base64.StdEncoding.DecodeString(call.Form.Get("PublicKeyMaterial"))
	switch {
	case err != nil || !strings.HasPrefix(string(key), "ssh-ed25519 "):
		refuse(w, call, 400, "InvalidKey.Format", "Key is not in valid OpenSSH public key format")
	case c.keyPairs[call.Region+" "+name] != nil:
		refuse(w, call, 400, "InvalidKeyPair.Duplicate", "The keypair already exists")
	default:
		c.keyPairs[call.Region+" "+name] = &keyPair{region: call.Region, name: name, key: string(key), tags: tagsFor(call.Form, "key-pair"), made: time.Now()}
		c.new(name)
		ok(w, call, element("keyName", name))
	}
}

func (c *Cloud) describeKeyPairs(w http.ResponseWriter, call Call) {
	var items []string
	for _, id := range slices.Sorted(maps.Keys(c.keyPairs)) {
		if k := c.keyPairs[id]; k.region == call.Region && fits(call.Form, map[string]string{"key-name": k.name}, k.tags) {
			items = append(items, element("item", element("keyName", k.name), element("createTime", k.made.UTC().Format(stamp)), tagSet(k.tags)))
		}
	}
	ok(w, call, element("keySet", items...))
}

func (c *Cloud) deleteKeyPair(w http.ResponseWriter, call Call) {
	delete(c.keyPairs, call.Region+" "+call.Form.Get("KeyName")) // one that is not there is no error
	done(w, call)
}

func (c *Cloud) describeVolumes(w http.ResponseWriter, call Call) {
	var items []string
	for _, id := range slices.Sorted(maps.Keys(c.volumes)) {
		v := c.volumes[id]
		status := "available"
		if i := c.instances[v.instance]; i != nil && i.state != "terminated" {
			status = "in-use"
		}
		if v.region == call.Region && fits(call.Form, map[string]string{"status": status}, v.tags) {
			items = append(items, element("item", element("volumeId", id), element("status", status), element("createTime", v.made.UTC().Format(stamp)), tagSet(v.tags)))
		}
	}
	ok(w, call, element("volumeSet", items...))
}

func (c *Cloud) deleteVolume(w http.ResponseWriter, call Call) {
	id := call.Form.Get("VolumeId")
	if v := c.volumes[id]; v == nil || v.region != call.Region {
		refuse(w, call, 400, "InvalidVolume.NotFound", "The volume '%s' does not exist.", id)
		return
	}
	delete(c.volumes, id)
	done(w, call)
}

// save makes a snapshot of a volume.
func (c *Cloud) save(region string, v *volume, tags map[string]string) (string, error) {
	s := &snapshot{region: region, gib: v.gib, tags: tags, begun: time.Now(), encrypted: v.encrypted, kmsKey: v.kmsKey, code: v.code, done: true,
		blocks: map[int][]byte{}, inherited: map[int][]byte{}}
	if c.Machines != nil {
		var err error
		if s.disk, err = c.Machines.Save(v.instance); err != nil {
			return "", err
		}
	}
	id := c.id("snap")
	c.snapshots[id] = s
	return id, nil
}

func (c *Cloud) createSnapshot(w http.ResponseWriter, call Call) {
	if dryRun(w, call) {
		return
	}
	v := c.volumes[call.Form.Get("VolumeId")]
	if v == nil || v.region != call.Region {
		refuse(w, call, 400, "InvalidVolume.NotFound", "The volume '%s' does not exist.", call.Form.Get("VolumeId"))
		return
	}
	id, err := c.save(call.Region, v, tagsFor(call.Form, "snapshot"))
	if err != nil {
		refuse(w, call, 500, "InternalError", "%v", err)
		return
	}
	ok(w, call, element("snapshotId", id), element("status", "pending"))
}

func (c *Cloud) createImage(w http.ResponseWriter, call Call) {
	i := c.instances[call.Form.Get("InstanceId")]
	if i == nil || i.region != call.Region || call.Form.Get("NoReboot") != "true" {
		refuse(w, call, 400, "InvalidInstanceID.NotFound", "no such instance, or it would be restarted")
		return
	}
	id, err := c.save(call.Region, c.volumes[i.volume], tagsFor(call.Form, "snapshot"))
	if err != nil {
		refuse(w, call, 500, "InternalError", "%v", err)
		return
	}
	c.add(w, call, &Image{
		Name: call.Form.Get("Name"), Snapshot: id, Tags: tagsFor(call.Form, "image"), ProductCode: c.volumes[i.volume].code,
		Volumes: devices(i.form, c.images[i.image]),
	})
}

// devices returns those of an instance's further volumes.
func devices(form url.Values, from *Image) []string {
	var all []string
	if from != nil {
		all = slices.Clone(from.Volumes)
	}
	for i := 2; form.Has(fmt.Sprintf("BlockDeviceMapping.%d.DeviceName", i)); i++ {
		if d := form.Get(fmt.Sprintf("BlockDeviceMapping.%d.DeviceName", i)); !slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	return all
}
