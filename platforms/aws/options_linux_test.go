package aws

import (
	"strings"
	"testing"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/aws/awstest"
	"bake.build/bake/platforms/platformtest"
)

// TestFurtherVolumes keeps layers of several volumes as AMIs, and publishes copies.
func TestFurtherVolumes(t *testing.T) {
	w := newWorld(t)
	w.newFleet()
	d := w.launching(func(o *Options) {
		o.Volumes, o.IMDSHopLimit, o.SubnetFilter = map[string]string{"/dev/sdf": "20G gp3"}, 2, map[string]string{"state": "available"}
	})
	origin := w.cloud.AddImage(home, awstest.Image{Name: debian, Tags: map[string]string{"release": "12", "Name": "debian", "bake:name": "x"}})
	m := w.boot(d, origin)
	form := w.cloud.Instances()[0].Form
	for name, want := range map[string]string{
		"BlockDeviceMapping.2.DeviceName": "/dev/sdf", "BlockDeviceMapping.2.Ebs.VolumeSize": "20", "BlockDeviceMapping.2.Ebs.DeleteOnTermination": "true",
		"MetadataOptions.HttpPutResponseHopLimit": "2",
	} {
		if got := form.Get(name); got != want {
			t.Errorf("launched with %s %q, want %q", name, got, want)
		}
	}
	ref := w.save(m, "0a", true)
	if !strings.HasPrefix(ref, "ami-") {
		t.Fatalf("the layer is %s", ref)
	}
	on := w.boot(d, ref)
	form = w.cloud.Instances()[1].Form
	if form.Get("BlockDeviceMapping.2.Ebs.VolumeSize") != "" || form.Get("BlockDeviceMapping.2.DeviceName") != "/dev/sdf" {
		t.Errorf("an instance on the layer gets %v", form)
	}
	if ref := w.save(on, "0b", true); !strings.HasPrefix(ref, "ami-") {
		t.Errorf("the next layer is %s", ref)
	}
	found, err := d.Publish(t.Context(), layerPublication(Publication{OriginTags: []string{"*"}}), platforms.ImageSource{Layer: ref}, &platformtest.Log{})
	if err != nil {
		t.Fatal(err)
	}
	if tags := w.cloud.Tags(found[0].ID); tags["release"] != "12" || tags[tagOrigin] != origin || tags[tagName] != "layer" && tags[tagName] != "web" || tags["Name"] == "debian" {
		t.Errorf("tags %v", tags)
	}
	_, err = d.Publish(t.Context(), layerPublication(Publication{OriginTags: []string{"none"}, Description: "x"}), platforms.ImageSource{Layer: ref}, &platformtest.Log{})
	if err == nil || !strings.Contains(err.Error(), `has no tag "none"`) {
		t.Errorf("got %v", err)
	}
	none := w.launching(func(o *Options) { o.SubnetFilter = map[string]string{"tag:Tier": "build"} })
	if _, _, err := w.booting(none, origin); err == nil || !strings.Contains(err.Error(), "subnet_filter: no subnet of the VPC") {
		t.Errorf("got %v", err)
	}
}

// TestLayersKeep removes the project's layers that were not used for long.
func TestLayersKeep(t *testing.T) {
	w := newWorld(t)
	w.newFleet()
	origin := w.cloud.AddImage(home, awstest.Image{Name: debian})
	other := w.another("acme/shop", "")
	for _, x := range []*world{w, other} {
		d := x.launching()
		m := x.boot(d, origin)
		x.save(m, "0"+x.host.Project()[5:6], true)
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range w.cloud.Snapshots() {
		w.cloud.Tag(id, tagUsed, "2024-01-01T00:00:00Z")
	}
	d := w.launching(func(o *Options) { o.LayersKeep = "720h" })
	m := w.boot(d, origin)
	w.save(m, "0f", true)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	left := map[string]bool{}
	for _, id := range w.cloud.Snapshots() {
		left[w.cloud.Tags(id)[tagKey]] = true
	}
	if left["0i"] || !left["0s"] {
		t.Errorf("left: %v", left)
	}
}

// TestDeprecatedOrigin begins on a deprecated AMI only by request.
func TestDeprecatedOrigin(t *testing.T) {
	w := newWorld(t)
	d := w.launching()
	old := w.cloud.AddImage(home, awstest.Image{Name: "debian-11-amd64-1", Deprecated: "2024-07-01T00:00:00Z"})
	filter := `"ami_filter":{"owner":"136693071363","name":"debian-11-*"}`
	if _, err := d.Pin(t.Context(), platforms.Origin{Options: []byte("{" + filter + "}")}); err == nil || !strings.Contains(err.Error(), "no AMI fits the filter") {
		t.Errorf("got %v", err)
	}
	o := w.pinned(d, "{"+filter+`,"include_deprecated":true}`)
	if o.Pin.ID != old {
		t.Errorf("pinned %v", o.Pin)
	}
	if _, err := d.Import(t.Context(), o, t.TempDir(), &platformtest.Log{}); err != nil {
		t.Error(err)
	}
}
