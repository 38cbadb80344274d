package aws

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"bake.build/bake/platforms/aws/awstest"
	"bake.build/bake/platforms/platformtest"
)

const keys = "arn:aws:kms:eu-west-1:123456789012:key/"

// TestEncryptionByDefault has an administrator change how the account encrypts, between
// builds that begin on what was made before.
func TestEncryptionByDefault(t *testing.T) {
	w := newWorld(t)
	content := 0
	publish := func(o Publication) (tags string) {
		t.Helper()
		content++
		w.write(byte(content), 1, 2, 100)
		w.mustPublish(fmt.Sprint(content), o)
		images := w.cloud.Images(home)
		encrypted, key := w.cloud.Encryption(images[len(images)-1].Snapshot)
		return fmt.Sprint(encrypted, " ", strings.TrimPrefix(key, keys))
	}
	for _, c := range []struct {
		on   bool
		key  string
		o    Publication
		want string
	}{
		{false, "", Publication{}, "false "},
		{true, "", Publication{}, "true aws-ebs"},
		{true, keys + "a", Publication{}, "true a"},
		{true, keys + "b", Publication{}, "true b"},
		{true, keys + "b", Publication{KMSKeys: map[string]string{home: "alias/images"}}, "true of-alias-images"},
		{true, keys + "b", Publication{KMSKeys: map[string]string{home: "alias/images"}}, "true of-alias-images"},
		{false, "", Publication{Encrypted: true}, "true aws-ebs"},
		{false, "", Publication{}, "false "},
	} {
		w.cloud.EncryptByDefault, w.cloud.DefaultKey = c.on, c.key
		if got := publish(c.o); got != c.want {
			t.Errorf("%+v: got %s", c, got)
		}
	}
	// Who may not ask for the settings finds out by a refusal.
	w.cloud.EncryptByDefault = true
	w.cloud.SetFault(func(c awstest.Call) *awstest.Fault {
		if strings.HasPrefix(c.Op, "GetEbs") {
			return &awstest.Fault{Status: 403, Code: "UnauthorizedOperation", Message: "You are not authorized to perform this operation."}
		}
		return nil
	})
	if got := publish(Publication{}); got != "true aws-ebs" {
		t.Errorf("without the right to ask: got %s", got)
	}
}

// TestSnapshotUsers lets others make volumes of the snapshots, and no more.
func TestSnapshotUsers(t *testing.T) {
	w := newWorld(t)
	o := Publication{Regions: []string{"us-east-1"}}
	for _, users := range [][]string{{"210987654321", "all"}, {"210987654321", "310987654321"}, nil} {
		o.SnapshotUsers = users
		if err := w.driver.CheckPublish(t.Context(), publication("abc", o)); err != nil {
			t.Fatal(err)
		}
		w.mustPublish("abc", o)
		for _, region := range []string{home, "us-east-1"} {
			if got := w.cloud.VolumePermissions(w.cloud.Images(region)[0].Snapshot); fmt.Sprint(got) != fmt.Sprint(users) {
				t.Errorf("%s: %v, want %v", region, got, users)
			}
		}
	}
}

// TestLateRefusals finds out before the upload what AWS would refuse after it.
func TestLateRefusals(t *testing.T) {
	w := newWorld(t)
	w.cloud.BlockPublic = true
	for want, o := range map[string]Publication{
		"public: eu-west-1: the account blocks public access to images":            {Public: true},
		"snapshot_users: eu-west-1: the account blocks public access to snapshots": {SnapshotUsers: []string{"all"}},
	} {
		if err := w.driver.CheckPublish(t.Context(), publication("abc", o)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	w.cloud.BlockPublic, w.cloud.EncryptByDefault = false, true
	for want, o := range map[string]Publication{
		"the account encrypts all volumes by default, and an encrypted image cannot be public":   {Public: true},
		"encrypts all volumes by default, and an encrypted snapshot cannot be everybody's":       {SnapshotUsers: []string{"all"}},
		"what the key alias/aws/ebs of AWS encrypts cannot be shared with others":                {ShareWith: []string{"210987654321"}},
		"us-east-1: what the key alias/aws/ebs of AWS encrypts cannot be shared with others: gi": {ShareWith: []string{"210987654321"}, Regions: []string{"us-east-1"}, KMSKeys: map[string]string{home: keys + "a"}},
	} {
		if err := w.driver.CheckPublish(t.Context(), publication("abc", o)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	w.cloud.DefaultKey = keys + "a"
	o := Publication{ShareWith: []string{"210987654321"}}
	if err := w.driver.CheckPublish(t.Context(), publication("abc", o)); err != nil {
		t.Error(err)
	}
	w.mustPublish("abc", o)
}

// TestDeprecation changes when an image counts as deprecated that is older than that.
func TestDeprecation(t *testing.T) {
	w := newWorld(t)
	w.mustPublish("abc", Publication{DeprecateAfter: "9000h"})
	w.cloud.Age(home, 100*time.Hour)
	w.mustPublish("abc", Publication{DeprecateAfter: "24h"})
	at, err := time.Parse(time.RFC3339, w.cloud.Images(home)[0].Deprecated)
	if err != nil || time.Until(at) > time.Hour {
		t.Errorf("deprecated at %v, %v", at, err)
	}
	n := w.cloud.Count("EnableImageDeprecation")
	w.mustPublish("abc", Publication{DeprecateAfter: "25h"})
	if w.cloud.Count("EnableImageDeprecation") != n {
		t.Error("what is past was set once more")
	}
}

// TestTakenOff takes off an image what the definition does not set any more, and nothing
// that others have set.
func TestTakenOff(t *testing.T) {
	w := newWorld(t)
	o := Publication{Regions: []string{"us-east-1"}, DeprecateAfter: "24h", Protect: true, SSMParameter: "/images/web", ImageTags: map[string]string{"tier": "front", "a name": "x"}}
	w.mustPublish("abc", o)
	own := w.cloud.Images(home)[0]
	j, err := w.driver.job(t.Context(), publication("abc", o), &platformtest.Log{})
	if err == nil {
		err = j.Mark(t.Context(), image{region: home, id: own.ID}, map[string]string{"audit": "theirs"})
	}
	if err != nil {
		t.Fatal(err)
	}
	bare := Publication{Regions: o.Regions, ImageTags: map[string]string{"a name": "y"}}
	_, log := w.mustPublish("abc", bare)
	if !strings.Contains(log, "does not name the ssm_parameter /images/web any more, which stays as it is") {
		t.Errorf("the parameter is not spoken of:\n%s", log)
	}
	for _, region := range []string{home, "us-east-1"} {
		i := w.cloud.Images(region)[0]
		if i.Deprecated != "" || i.Protected {
			t.Errorf("%s: deprecated %q, protected %v", region, i.Deprecated, i.Protected)
		}
		for _, id := range []string{i.ID, i.Snapshot} {
			if tags := w.cloud.Tags(id); tags["tier"] != "" || tags["a name"] != "y" || tags["team"] != "web" {
				t.Errorf("%s: tags of %s: %v", region, id, tags)
			}
		}
	}
	if w.cloud.Tags(own.ID)["audit"] != "theirs" {
		t.Error("a tag of somebody else is gone")
	}
	// What others set is theirs.
	n := w.cloud.Count("DisableImageDeprecation") + w.cloud.Count("DeleteTags")
	bare.ImageTags["new"] = "z"
	w.mustPublish("abc", bare)
	if w.cloud.Count("DisableImageDeprecation")+w.cloud.Count("DeleteTags") != n {
		t.Error("what was taken off is taken off once more")
	}
}
