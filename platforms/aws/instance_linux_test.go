package aws

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bake.build/bake/internal/need"
	"bake.build/bake/internal/testsshd"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/aws/awstest"
	"bake.build/bake/platforms/platformtest"
	"bake.build/bake/platforms/remote"
	"bake.build/bake/platforms/ssh"
)

// The instances of these tests are real SSH servers with a disk of their own, which
// the stand-in for EC2 starts: see testsshd.

// debian is an AMI as Debian publishes it.
const debian = "debian-12-amd64-20261101-1"

// newFleet makes the world's instances ones that can be logged in to.
func (w *world) newFleet() *testsshd.Fleet {
	w.Helper()
	need.Root(w.T)
	need.Tool(w.T, testsshd.Tools...)
	f := &testsshd.Fleet{Dir: w.TempDir()}
	w.Cleanup(f.Close)
	w.cloud.Machines = f
	return f
}

// launching are options for machines of a fleet.
func (w *world) launching(change ...func(*Options)) *driver {
	w.Helper()
	o := Options{Region: home, Endpoint: w.cloud.URL, Login: ssh.Login{User: "root", BootTimeout: "20s"}}
	for _, f := range change {
		f(&o)
	}
	d := w.open(o)
	w.Cleanup(func() {
		if err := d.Close(); err != nil {
			w.Error(err)
		}
	})
	return d
}

// boot opens a machine on a layer.
func (w *world) boot(d *driver, ref string) *machine {
	w.Helper()
	return platformtest.Boot[*machine](w, d, ref)
}

func (w *world) sh(m platforms.Machine, script string) string {
	w.Helper()
	return platformtest.Sh(w, m, script)
}

func (w *world) save(m *machine, key string, needed bool) string {
	w.Helper()
	return platformtest.Save(w, m, platforms.State{Key: key, Name: "step " + key, Needed: needed})
}

// TestInstance goes the way of a build: an instance on an AMI, a layer of it, another
// instance on that, an image.
func TestInstance(t *testing.T) {
	w := newWorld(t)
	w.newFleet()
	w.cloud.Pending = 1
	ami := w.cloud.AddImage(home, awstest.Image{Name: debian})
	d := w.launching(func(o *Options) {
		o.Tags, o.InstanceTypes, o.Spot, o.InstanceProfile = map[string]string{"team": "web"}, []string{"m7i.large"}, true, "builder"
		o.VolumeSize, o.Checkpoint = "9G", checkpointAll
	})
	m := w.boot(d, ami)
	// The machine has an identity and programs that make a new one.
	w.sh(m, `echo layer one >/etc/layer; test -s /root/.ssh/authorized_keys
cd /usr/local/bin; for p in systemctl cloud-init; do echo '#!/bin/sh' >$p; chmod +x $p; done
echo 0123456789abcdef0123456789abcdef >/etc/machine-id; mkdir -p /var/lib/systemd; echo seed >/var/lib/systemd/random-seed; echo a key >/etc/ssh/ssh_host_ed25519_key`)

	i := w.cloud.Instances()[0]
	for name, want := range map[string]string{
		"InstanceType": "m7i.large", "MetadataOptions.HttpTokens": "required", "InstanceInitiatedShutdownBehavior": "terminate",
		"BlockDeviceMapping.1.Ebs.VolumeSize": "9", "BlockDeviceMapping.1.Ebs.DeleteOnTermination": "true", "IamInstanceProfile.Name": "builder",
		"InstanceMarketOptions.MarketType": "spot", "NetworkInterface.1.AssociatePublicIpAddress": "true",
	} {
		if got := i.Form.Get(name); got != want {
			t.Errorf("launched with %s %q, want %q", name, got, want)
		}
	}
	if i.Tags["team"] != "web" || i.Tags[tagBuild] != "build" {
		t.Errorf("tags %v", i.Tags)
	}
	if got := w.cloud.Groups(); len(got) != 1 || len(got[0]) != 1 || !strings.HasPrefix(got[0][0], "127.") || !strings.HasSuffix(got[0][0], "/32") {
		t.Errorf("the security group lets in %v", got)
	}
	if left := w.host.Left(); len(left) != 3 {
		t.Errorf("in the ledger: %v", left)
	}

	ref := w.save(m, "0a", false)
	if !strings.HasPrefix(ref, "snap-") {
		t.Fatalf("the layer is %q", ref)
	}
	w.isClean(ref)
	if id, err := os.ReadFile(filepath.Join(w.cloud.Disk(ref).(string), "etc/machine-id")); err != nil || len(id) != 0 {
		t.Errorf("the layer has the machine-id %q, %v", id, err)
	}
	w.sh(m, `echo layer two >/etc/layer; test -s /root/.ssh/authorized_keys; test -e /var/lib/cloud/instance/user-data.txt
test -s /etc/machine-id; test -s /var/lib/systemd/random-seed; test -s /etc/ssh/ssh_host_ed25519_key; test ! -e /run/bake-hidden`)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}

	// A colleague finds the layer by its key and begins on it.
	other := w.launching()
	layers, err := other.FindLayers(t.Context(), []string{"0a", "0b"})
	if want := (platforms.Layer{Key: "0a", Ref: ref, Traits: platforms.Traits{Arch: "amd64", Boot: "bios"}}); err != nil || len(layers) != 1 || layers["0a"] != want {
		t.Fatalf("found %v, %v; want %v", layers, err, want)
	}
	m2 := w.boot(other, ref)
	if got := w.sh(m2, "cat /etc/layer"); got != "layer one\n" {
		t.Errorf("the layer has %q", got)
	}
	if images := w.ownImages(); len(images) != 0 {
		t.Errorf("images are left: %v", images)
	}
	found, err := other.Publish(t.Context(), layerPublication(Publication{Regions: []string{"us-east-1"}}), platforms.ImageSource{Layer: ref}, &platformtest.Log{})
	if err != nil {
		t.Fatal(err)
	}
	image := w.ownImages()[0]
	if len(found) != 2 || found[0].ID != image.ID || image.Snapshot != ref || image.Tags[tagReady] == "" {
		t.Errorf("found %v, and there is %+v", found, image)
	}
	if got := w.cloud.Tags(ref); got[tagKey] != "0a" || got[tagName] != "web" {
		t.Errorf("tags of the layer: %v", got)
	}
	for _, d := range []*driver{d, other} {
		if err := errors.Join(m2.Close(), d.Close()); err != nil {
			t.Fatal(err)
		}
	}
	w.nothingLeft()
}

// ownImages are the account's images in the home region.
func (w *world) ownImages() []awstest.Image {
	return slices.DeleteFunc(w.cloud.Images(home), func(i awstest.Image) bool { return i.Owner != "self" })
}

func layerPublication(o Publication) platforms.Publication {
	p := publication("layer", o)
	p.Arch, p.Boot = "", ""
	return p
}

// isClean wants nothing in a layer that was put there for the build.
func (w *world) isClean(snapshot string) {
	w.Helper()
	disk := w.cloud.Disk(snapshot).(string)
	for _, path := range []string{"root/.ssh/authorized_keys", "home/ann/.ssh/authorized_keys", "var/lib/cloud/instance", "var/lib/cloud/instances",
		"var/lib/systemd/random-seed", "etc/ssh/ssh_host_ed25519_key"} {
		info, err := os.Lstat(filepath.Join(disk, path))
		if err == nil && info.Mode()&os.ModeCharDevice == 0 { // which stands for what was removed
			w.Errorf("the layer has %s", path)
		} else if err != nil && !errors.Is(err, os.ErrNotExist) {
			w.Error(err)
		}
	}
}

// nothingLeft wants no instance, volume, key pair or group to be there, and nothing
// in the ledger.
func (w *world) nothingLeft() {
	w.Helper()
	if running := w.cloud.Running(); len(running) > 0 {
		w.Errorf("left: %v", running)
	}
	if left := w.host.Left(); len(left) > 0 {
		w.Errorf("left in the ledger: %v", left)
	}
}

func TestConformance(t *testing.T) {
	w := newWorld(t)
	w.newFleet()
	platformtest.Run(t, platformtest.Harness{
		Driver: w.launching(),
		First:  platforms.Layer{Key: "00", Ref: w.cloud.AddImage(home, awstest.Image{Name: debian})},
		Dir:    func(t *testing.T) string { return t.TempDir() },
		Shared: true, NoRestart: true,
	})
}

// TestKeyInUserData has cloud-init bring the key, and no key pair is made.
func TestKeyInUserData(t *testing.T) {
	w := newWorld(t)
	w.newFleet()
	d := w.launching(func(o *Options) { o.Key, o.Connect, o.SecurityGroups = keyUserData, connectPrivate, nil })
	m := w.boot(d, w.cloud.AddImage(home, awstest.Image{Name: debian}))
	if n := w.cloud.Count("ImportKeyPair"); n != 0 {
		t.Error("a key pair was made")
	}
	data, err := base64.StdEncoding.DecodeString(w.cloud.Instances()[0].Form.Get("UserData"))
	if err != nil || !strings.HasPrefix(string(data), "#cloud-config\nssh_authorized_keys:\n  - ssh-ed25519 ") {
		t.Errorf("user data %q, %v", data, err)
	}
	ref := w.save(m, "0a", true)
	w.isClean(ref)
	w.sh(m, "grep -q ssh-ed25519 /var/lib/cloud/instance/user-data.txt")
}

// TestBastion goes to an instance by way of another host.
func TestBastion(t *testing.T) {
	w := newWorld(t)
	w.newFleet()
	testsshd.Gate(t)
	d := w.launching(func(o *Options) {
		o.Bastion, o.SSHFrom, o.Connect = []string{"gate"}, []string{"10.0.0.7/32"}, connectPrivate
	})
	m := w.boot(d, w.cloud.AddImage("eu-west-1", awstest.Image{Name: debian}))
	w.sh(m, "true")
	if got := w.cloud.Groups(); len(got) != 1 || strings.Join(got[0], " ") != "10.0.0.7/32" {
		t.Errorf("the security group lets in %v", got)
	}
}

// TestOptions refuses what goes not together.
func TestOptions(t *testing.T) {
	for want, o := range map[string]Options{
		"bastion: say with ssh_from":             {Bastions: ssh.Bastions{Bastion: []string{"gate"}}},
		"bastion: Session Manager leads past":    {Bastions: ssh.Bastions{Bastion: []string{"gate"}}, Connect: connectSession, InstanceProfile: "x"},
		"ssh_from: \"here\" is no network":       {SSHFrom: []string{"here"}},
		"private_ip: needs subnet":               {PrivateIP: "10.0.0.1"},
		"private_ip: needs max_instances = 1":    {PrivateIP: "10.0.0.1", Subnet: "subnet-1", MaxInstances: 2},
		"ssh_from: is for the build's own":       {SSHFrom: []string{"10.0.0.0/8"}, SecurityGroups: []string{"sg-1"}},
		"ssh_from: Session Manager needs no way": {SSHFrom: []string{"10.0.0.0/8"}, Connect: connectSession, InstanceProfile: "x"},
		"Session Manager needs an instance_prof": {Connect: connectSession},
		"user_data: belongs to key":              {UserData: "x", Key: keyUserData},
		"max_instances: -1":                      {MaxInstances: -1},
		"volume_size: 1536M: want whole GiB":     {VolumeSize: "1536M"},
		"region: \"Ireland\" is no name":         {Region: "Ireland"},
	} {
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestFingerprint has layers that others keep serve only who wants such ones.
func TestFingerprint(t *testing.T) {
	of := func(o Options) string { return (&driver{options: o}).Fingerprint() }
	seen := map[string]bool{of(Options{}): true}
	for _, o := range []Options{{VolumeSize: "9G"}, {Encrypted: true}, {KMSKey: "arn:k"}, {KMSKey: "arn:l"}, {UserData: "x"}} {
		if f := of(o); seen[f] {
			t.Errorf("%+v: %s is that of others", o, f)
		} else {
			seen[f] = true
		}
	}
	if of(Options{InstanceTypes: []string{"m7i.large"}, Spot: true, Options: remote.Options{Checkpoint: checkpointAll}}) != of(Options{}) {
		t.Error("where an instance runs changes the fingerprint")
	}
	if strings.Contains(of(Options{UserData: "password=hunter2"}), "hunter2") {
		t.Error("user data is in the fingerprint")
	}
}

// TestProductCodes keeps layers as AMIs, and makes the image a copy.
func TestProductCodes(t *testing.T) {
	w := newWorld(t)
	w.newFleet()
	w.cloud.AddImage(home, awstest.Image{Name: "firewall 1", Owner: "aws-marketplace", ProductCode: "abc", Created: time.Now().Add(-time.Hour)})
	newer := w.cloud.AddImage(home, awstest.Image{Name: "firewall 2", Owner: "aws-marketplace", ProductCode: "abc"})
	d := w.launching()
	o := w.pinned(d, `{"marketplace":"abc"}`)
	if o.Pin.ID != newer {
		t.Fatalf("pinned %v", o.Pin)
	}
	m := w.boot(d, newer)
	ref := w.save(m, "0a", true)
	if !strings.HasPrefix(ref, "ami-") {
		t.Fatalf("the layer is %q", ref)
	}
	found, err := d.Publish(t.Context(), layerPublication(Publication{}), platforms.ImageSource{Layer: ref}, &platformtest.Log{})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range w.ownImages() {
		if i.ProductCode != "abc" {
			t.Errorf("without its product code: %+v", i)
		}
	}
	if len(found) != 1 || found[0].ID == ref || len(w.ownImages()) != 2 {
		t.Errorf("found %v of %v", found, w.ownImages())
	}
	if _, err := d.Publish(t.Context(), layerPublication(Publication{VolumeSize: "9G"}), platforms.ImageSource{Layer: ref}, &platformtest.Log{}); err == nil || !strings.Contains(err.Error(), "volume_size: the image is a copy of "+ref) {
		t.Errorf("got %v", err)
	}
	layers, err := d.FindLayers(t.Context(), []string{"0a"})
	if err != nil || layers["0a"].Ref != ref {
		t.Errorf("found %v, %v", layers, err)
	}
}

// TestEncryption copies what has to be encrypted by another key than the layer.
func TestEncryption(t *testing.T) {
	w := newWorld(t)
	w.newFleet()
	key := "arn:aws:kms:eu-west-1:123456789012:key/k"
	d := w.launching(func(o *Options) { o.KMSKey = key })
	m := w.boot(d, w.cloud.AddImage(home, awstest.Image{Name: debian}))
	ref := w.save(m, "0a", true)
	for _, c := range []struct {
		key    string
		copies bool
	}{{key, false}, {key + "2", true}} {
		before := w.cloud.Count("CopyImage")
		if _, err := d.Publish(t.Context(), layerPublication(Publication{KMSKeys: map[string]string{home: c.key}}), platforms.ImageSource{Layer: ref}, &platformtest.Log{}); err != nil {
			t.Fatal(err)
		}
		if copied := w.cloud.Count("CopyImage") > before; copied != c.copies {
			t.Errorf("%s: copied %v", c.key, copied)
		}
	}
	for _, i := range w.ownImages() {
		if i.Tags[tagReady] == "" {
			t.Errorf("left: %+v", i)
		}
	}
	bad := w.launching(func(o *Options) { o.KMSKey = awstest.DisabledKey })
	if _, err := bad.Boot(t.Context(), []platforms.Layer{{Ref: ref}}, &platformtest.Log{}); err == nil || !strings.Contains(err.Error(), "it is in the state Disabled") {
		t.Errorf("a key that is disabled: %v", err)
	}
	err := d.CheckPublish(t.Context(), layerPublication(Publication{KMSKeys: map[string]string{home: "arn:aws:kms:eu-west-1:999999999999:key/k"}}))
	if err == nil || !strings.Contains(err.Error(), "kms_keys: eu-west-1: look at the key arn:") {
		t.Errorf("a key of somebody else: %v", err)
	}
}

// TestLicences keeps layers as AMIs of what AWS bills licences for: a snapshot that is
// registered would lose them.
func TestLicences(t *testing.T) {
	w := newWorld(t)
	w.newFleet()
	d := w.launching()
	m := w.boot(d, w.cloud.AddImage(home, awstest.Image{Name: "RHEL-9", UsageOperation: "RunInstances:0010"}))
	if ref := w.save(m, "0a", true); !strings.HasPrefix(ref, "ami-") {
		t.Errorf("the layer is %s", ref)
	}
}

func (w *world) pinned(d *driver, options string) platforms.Origin {
	w.Helper()
	o, err := d.Pin(w.Context(), platforms.Origin{Options: []byte(options)})
	if err != nil {
		w.Fatal(err)
	}
	return o
}

func TestOrigins(t *testing.T) {
	w := newWorld(t)
	d := w.launching()
	old := w.cloud.AddImage(home, awstest.Image{Name: "debian-12-amd64-1", Created: time.Now().Add(-time.Hour)})
	first := w.cloud.AddImage(home, awstest.Image{Name: debian})
	w.cloud.AddImage(home, awstest.Image{Name: "debian-12-amd64-fake", Owner: "666666666666", Created: time.Now().Add(time.Hour)})
	w.cloud.AddImage(home, awstest.Image{Name: "debian-12-arm64-1", Architecture: "arm64", Created: time.Now().Add(time.Hour)})
	w.cloud.SetParameter(home, "/debian/latest", first)
	w.cloud.SetParameter(home, "/nonsense", "42")
	for options, want := range map[string]string{
		`{"ami":"` + old + `"}`: old,
		`{"ami_filter":{"owner":"136693071363","name":"debian-12-*","architecture":"x86_64"}}`: first,
		`{"ssm_parameter":"/debian/latest"}`:                                                   first,
	} {
		if o := w.pinned(d, options); o.Pin.ID != want {
			t.Errorf("%s: %v, want %s", options, o.Pin, want)
		}
	}
	for options, want := range map[string]string{
		`{"ami":"debian"}`:                        `ami: "debian" is not an AMI id`,
		`{"ami":"ami-1"}`:                         "eu-west-1: there is no AMI ami-1",
		`{"ami_filter":{"name":"debian-12-*"}}`:   `ami_filter: "owner" is missing`,
		`{"ami_filter":{"owner":"1","nmae":"x"}}`: `ami_filter: "nmae" is not a filter`,

		`{"ami_filter":{"owner":"1","root-device-type":"ebs"}}`: `ami_filter: leave "root-device-type" out: only AMIs on EBS are chosen`,
		`{"ami_filter":{"owner":"1","name":"x"}}`:               "no AMI fits the filter",
		`{"ssm_parameter":"/none"}`:                             "read the SSM parameter /none",
		`{"ssm_parameter":"/nonsense"}`:                         `the SSM parameter /nonsense is "42", and no id of an AMI`,
		`{"marketplace":"none"}`:                                "AWS Marketplace has no AMI of the product code none",
	} {
		if _, err := d.Pin(t.Context(), platforms.Origin{Options: []byte(options)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", options, err, want)
		}
	}
	// A pin holds as long as the AMI can be had.
	o := w.pinned(d, `{"ami_filter":{"owner":"136693071363","name":"debian-12-amd64-*"}}`)
	w.cloud.AddImage(home, awstest.Image{Name: "debian-12-amd64-2", Created: time.Now().Add(time.Minute)})
	again, err := d.Pin(t.Context(), o)
	if err != nil || again.Pin.ID != first {
		t.Errorf("%v, %v", again.Pin, err)
	}
	w.cloud.RemoveImage(first)
	if again, err = d.Pin(t.Context(), o); err != nil || again.Pin.ID == first {
		t.Errorf("%v, %v", again.Pin, err)
	}
	if _, err := d.Import(t.Context(), o, t.TempDir(), &platformtest.Log{}); err == nil || !strings.Contains(err.Error(), "bake update finds another one") {
		t.Errorf("got %v", err)
	}
	if name := d.PinName(o); name != "eu-west-1 name=debian-12-amd64-* owner=136693071363" {
		t.Errorf("the pin is called %q", name)
	}
	for name, want := range map[string]string{debian: "admin", "ubuntu/images/hvm-ssd/x": "ubuntu", "Rocky-9": "rocky", "al2023-ami-2023": "ec2-user"} {
		if got := userOf(name); got != want {
			t.Errorf("%s: the user %s", name, got)
		}
	}
}
