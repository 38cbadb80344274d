package aws

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/platforms/aws/awstest"
	"bake.build/bake/platforms/publish"
)

// TestMFA asks for the code of a device, once for all regions of a profile.
func TestMFA(t *testing.T) {
	w := newWorld(t)
	second := w.cloud.Account("210987654321")
	file := filepath.Join(t.TempDir(), "config")
	config := `[profile base]
aws_access_key_id = key
aws_secret_access_key = secret
[profile admin]
role_arn = arn:aws:iam::210987654321:role/mfa
mfa_serial = arn:aws:iam::123456789012:mfa/ann
source_profile = base
`
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", file)
	w.host.Answer = awstest.TokenCode
	l := &logins{}
	for _, region := range []string{home, "us-east-1"} {
		d, err := open(Options{Region: region, Profile: "admin", Endpoint: w.cloud.URL}, w.host, l)
		if err != nil {
			t.Fatal(err)
		}
		if account, err := d.Account(t.Context()); err != nil || account != second.Number {
			t.Errorf("%s: the account %q, %v", region, account, err)
		}
	}
	if len(w.host.Asked) != 1 || w.host.Asked[0] != "MFA code of arn:aws:iam::123456789012:mfa/ann" {
		t.Errorf("asked %q", w.host.Asked)
	}
	w.host.Answer = "000000"
	if _, err := w.open(Options{Region: home, Profile: "admin", Endpoint: w.cloud.URL}).Account(t.Context()); err == nil {
		t.Error("a wrong code is taken")
	}
}

// TestCopyTo gives other accounts images of their own.
func TestCopyTo(t *testing.T) {
	w := newWorld(t)
	second := w.cloud.Account("210987654321")
	o := Publication{Regions: []string{"us-east-1"}, CopyTo: []string{"arn:aws:iam::210987654321:role/images"}}
	if err := w.driver.CheckPublish(t.Context(), publication("abc", o)); err != nil {
		t.Fatal(err)
	}
	found, _ := w.mustPublish("abc", o)
	if len(found) != 4 || found[2].Place != "210987654321/"+home || found[3].Place != "210987654321/us-east-1" {
		t.Fatalf("found %v", found)
	}
	for _, region := range []string{home, "us-east-1"} {
		images := second.Images(region)
		if len(images) != 1 || images[0].Tags[tagReady] == "" || images[0].Tags["team"] != "web" || len(images[0].Permissions) != 0 {
			t.Errorf("%s: %+v", region, images)
		}
	}
	again, why, err := w.driver.Published(t.Context(), publication("abc", o))
	if err != nil || why != "" || len(again) != 4 {
		t.Errorf("%v %q %v", again, why, err)
	}
	// A copy that breaks off is recorded with the role that leads to it.
	lose := func(c awstest.Call) *awstest.Fault {
		if c.Op == "CopyImage" {
			return &awstest.Fault{Status: 400, Code: "InvalidRequest"}
		}
		return nil
	}
	second.SetFault(lose)
	o.Description = "another"
	if _, _, err := w.publish("abc", o); err == nil || !strings.Contains(err.Error(), "account 210987654321") {
		t.Errorf("got %v", err)
	}
	second.SetFault(func(c awstest.Call) *awstest.Fault {
		if c.Op == "CreateTags" {
			return &awstest.Fault{Status: 400, Code: "TagLimitExceeded"}
		}
		return nil
	})
	if _, _, err := w.publish("abc", o); err == nil {
		t.Error("nothing failed")
	}
	second.SetFault(nil)
	left := w.host.Left()
	if len(left) == 0 || left[0].Account != second.Number || !strings.Contains(string(left[0].Options), "role/images") {
		t.Fatalf("recorded %+v", left)
	}
	d := w.open(Options{Region: home, Endpoint: w.cloud.URL, Role: "arn:aws:iam::210987654321:role/images"})
	for _, r := range left {
		if _, err := d.Collect(t.Context(), r); err != nil {
			t.Error(err)
		}
	}
	if n := len(second.Images(home)) + len(second.Images("us-east-1")); n != 2 {
		t.Errorf("%d images in the second account", n)
	}
	for want, o := range map[string]Publication{
		`copy_to: "210987654321" is no ARN of a role`:    {CopyTo: []string{"210987654321"}},
		"of the account 123456789012, which has the ima": {CopyTo: []string{"arn:aws:iam::123456789012:role/images"}},
	} {
		if err := w.driver.CheckPublish(t.Context(), publication("abc", o)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestLeftRegions takes a region and an account out of the definition: with keep the image
// is removed from the region, and the account's copy is told of, which no role leads to.
func TestLeftRegions(t *testing.T) {
	w := newWorld(t)
	second := w.cloud.Account("210987654321")
	w.mustPublish("abc", Publication{Regions: []string{"us-east-1"}, CopyTo: []string{"arn:aws:iam::210987654321:role/images"}})
	_, log := w.mustPublish("abc", Publication{})
	for _, want := range []string{
		"us-east-1: the definition does not name it any more, and ", "account 210987654321 any more: the copy of the image there stays",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("want %q in\n%s", want, log)
		}
	}
	if len(w.cloud.Images("us-east-1")) != 1 || len(second.Images(home)) != 1 {
		t.Error("without keep an image is removed")
	}
	_, log = w.mustPublish("def", Publication{Retention: publish.Retention{Keep: 2}, RetireShared: true})
	if images := w.cloud.Images("us-east-1"); len(images) != 0 || len(w.cloud.Images(home)) != 2 || !strings.Contains(log, "us-east-1: deregistered ") {
		t.Errorf("with keep %v is left, and in %s %v:\n%s", images, home, w.cloud.Images(home), log)
	}
}

// TestNamesWithTime gives an image a name with a time, which a parameter of the
// definition gives: the same disk, with nothing sent, as another image.
func TestNamesWithTime(t *testing.T) {
	w := newWorld(t)
	w.mustPublish("abc", Publication{ImageName: "web 2026-11-28 15-00"})
	sent := w.cloud.Count("PutSnapshotBlock")
	w.mustPublish("abc", Publication{ImageName: "web 2026-11-29 15-00", Retention: publish.Retention{Keep: 2}})
	if images := w.cloud.Images(home); len(images) != 2 || w.cloud.Count("PutSnapshotBlock") != sent {
		t.Errorf("images %v, and %d blocks were sent", images, w.cloud.Count("PutSnapshotBlock")-sent)
	}
	w.mustPublish("abc", Publication{ImageName: "web 2026-11-30 15-00", Retention: publish.Retention{Keep: 1}})
	if images := w.cloud.Images(home); len(images) != 1 || images[0].Name != "web 2026-11-30 15-00" {
		t.Errorf("images %v", images)
	}
}

// TestVolumeOptions reads further volumes, and puts them into images.
func TestVolumeOptions(t *testing.T) {
	w := newWorld(t)
	w.mustPublish("abc", Publication{Volumes: map[string]string{"/dev/sdf": "100G", "/dev/sdg": "125G st1"}})
	form := w.cloud.Images(home)[0].Form
	for name, want := range map[string]string{
		"BlockDeviceMapping.2.DeviceName": "/dev/sdf", "BlockDeviceMapping.2.Ebs.VolumeSize": "100", "BlockDeviceMapping.2.Ebs.VolumeType": "gp3",
		"BlockDeviceMapping.3.DeviceName": "/dev/sdg", "BlockDeviceMapping.3.Ebs.VolumeType": "st1",
	} {
		if got := form.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for want, volumes := range map[string]map[string]string{
		`volumes: sdf1: "1G": the device has no name`: {"sdf1": "1G"},
		`want a size and, if wanted, a type`:          {"/dev/sdf": ""},
		`want whole GiB`:                              {"/dev/sdf": "1500M"},
		`st1 volumes have 125 to`:                     {"/dev/sdf": "1G st1"},
		`there are no volumes of the type fast`:       {"/dev/sdf": "1G fast"},
	} {
		if err := (&Options{Volumes: volumes}).Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
