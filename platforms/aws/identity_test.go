package aws

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/aws/awstest"
	"bake.build/bake/platforms/platformtest"
	"bake.build/bake/platforms/publish"
)

// another is the world with a driver of another project, build or account. What it
// makes is recorded in a ledger of its own.
func (w *world) another(project, build string) *world {
	w.Helper()
	other := *w
	other.host = &platformtest.Host{Dir: w.TempDir(), ProjectID: project, BuildID: build}
	other.driver = other.open(w.driver.options)
	return &other
}

// TestProjects has two teams of one account that both call an image "web".
func TestProjects(t *testing.T) {
	w := newWorld(t)
	other := w.another("acme/shop", "")
	for _, content := range []string{"one", "two"} {
		other.mustPublish(content, Publication{})
	}
	theirs := w.cloud.Images(home)
	for _, content := range []string{"one", "two", "three"} { // equal disks, too
		w.mustPublish(content, Publication{Retention: publish.Retention{Keep: 1}})
	}
	var left []string
	for _, i := range w.cloud.Images(home) {
		left = append(left, i.Tags[tagOurs]+" "+i.ID)
	}
	if len(left) != 3 || left[0] != "acme/shop "+theirs[0].ID || left[1] != "acme/shop "+theirs[1].ID {
		t.Errorf("left %v of %v", left, theirs)
	}
	for _, id := range w.cloud.Snapshots() {
		if w.cloud.Tags(id)[tagOurs] == "" {
			t.Errorf("%s belongs to no project", id)
		}
	}
	other.mustPublish("taken", Publication{ImageName: "the web"})
	err := w.driver.CheckPublish(t.Context(), publication("taken", Publication{ImageName: "the web"}))
	if err == nil || !strings.Contains(err.Error(), "which is another one, of the project acme/shop") {
		t.Errorf("got %v", err)
	}
	none := w.another(" ", "")
	none.host.Nameless = true
	if err := none.driver.CheckPublish(t.Context(), publication("one", Publication{Retention: publish.Retention{Keep: 1}})); err == nil || !strings.Contains(err.Error(), "keep: this project has no name") {
		t.Errorf("got %v", err)
	}
}

// TestAccounts records in which account something is, and remembers uploads by it.
func TestAccounts(t *testing.T) {
	w := newWorld(t)
	w.cloud.SetFault(func(c awstest.Call) *awstest.Fault {
		if c.Op == "RegisterImage" {
			return &awstest.Fault{Drop: true}
		}
		return nil
	})
	if _, _, err := w.publish("abc", Publication{}); err == nil {
		t.Fatal("the connection did not break")
	}
	w.cloud.SetFault(nil)
	for _, r := range w.host.Left() {
		if r.Account != awstest.FirstAccount || r.Build != "build" {
			t.Errorf("recorded %+v", r)
		}
	}
	w.collect()
	w.mustPublish("abc", Publication{})

	second := w.cloud.Account("210987654321")
	t.Setenv("AWS_ACCESS_KEY_ID", second.Number)
	other := w.another("", "")
	other.host.Dir = w.host.Dir
	if account, err := other.driver.Account(t.Context()); err != nil || account != second.Number {
		t.Errorf("the account %q, %v", account, err)
	}
	if _, log := other.mustPublish("def", Publication{}); strings.Contains(log, "on top of") || len(second.Images(home)) != 1 {
		t.Errorf("%d images; the snapshot of another account is the parent:\n%s", len(second.Images(home)), log)
	}
}

// TestTakenOver lets gc of one build leave alone what another one has taken over.
func TestTakenOver(t *testing.T) {
	w := newWorld(t)
	w.cloud.SetFault(func(c awstest.Call) *awstest.Fault {
		if c.Op == "ModifyImageAttribute" {
			return &awstest.Fault{Status: 400, Code: "InvalidAMIAttributeItemValue"}
		}
		return nil
	})
	o := Publication{ShareWith: []string{"210987654321"}}
	if _, _, err := w.publish("abc", o); err == nil {
		t.Fatal("sharing was not refused")
	}
	other := w.another("", "other")
	if _, _, err := other.publish("abc", o); err == nil {
		t.Fatal("sharing was not refused")
	}
	w.cloud.SetFault(nil)
	for _, r := range w.host.Left() {
		got, err := w.driver.Collect(t.Context(), r)
		if err != nil || got.Removed || !strings.Contains(got.Kept, "the build other has taken") && !strings.Contains(got.Kept, "is made of") {
			t.Errorf("%v: %+v, %v", r, got, err)
		}
	}
	for _, r := range other.host.Left() {
		if got, err := other.driver.Collect(t.Context(), r); err != nil || !got.Removed {
			t.Errorf("%v: %+v, %v", r, got, err)
		}
	}
	if n := len(w.cloud.Images(home)) + len(w.cloud.Snapshots()); n != 0 {
		t.Errorf("%d are left", n)
	}
}

// TestDeniedRegion looks on in all regions but one that a policy denies.
func TestDeniedRegion(t *testing.T) {
	w := newWorld(t)
	w.cloud.SetFault(func(c awstest.Call) *awstest.Fault {
		switch {
		case c.Region == "eu-central-1" && c.Op != "DescribeRegions" && c.Op != "GetCallerIdentity":
			return &awstest.Fault{Status: 403, Code: "UnauthorizedOperation", Message: "with an explicit deny in a service control policy"}
		case c.Op == "CopyImage" || c.Op == "ModifyImageAttribute":
			return &awstest.Fault{Status: 400, Code: "InvalidRequest"}
		}
		return nil
	})
	if _, _, err := w.publish("abc", Publication{ShareWith: []string{"210987654321"}}); err == nil {
		t.Fatal("nothing failed")
	}
	found, err := w.driver.Orphans(t.Context(), time.Now().Add(time.Minute))
	unseen, rest := platforms.SplitUnseen(err)
	if rest != nil || len(unseen) != 1 || unseen[0].Place != "eu-central-1" || len(found) != 1 {
		t.Errorf("found %v, unseen %v, %v", found, unseen, rest)
	}
	_, err = w.driver.PruneLayers(t.Context(), platforms.LayerPruning{MadeBefore: time.Now()})
	if unseen, rest := platforms.SplitUnseen(err); rest != nil || len(unseen) != 1 {
		t.Errorf("unseen %v, %v", unseen, rest)
	}
}

// TestTags refuses tags that are not the user's.
func TestTags(t *testing.T) {
	many := map[string]string{}
	for i := range 41 {
		many[fmt.Sprint("tag", i)] = ""
	}
	for want, tags := range map[string]map[string]string{
		`tags: "bake:key": tags that begin with bake: are`: {"bake:key": "x"},
		`tags: "AWS:x": AWS keeps`:                         {"AWS:x": ""},
		`the value of a tag has at most 256`:               {"x": strings.Repeat("y", 257)},
		`the name of a tag has 1 to 128`:                   {strings.Repeat("y", 129): ""},
		`tags: 41 tags`:                                    many,
	} {
		for _, err := range []error{(&Options{Tags: tags}).Check(), Publication{ImageTags: tags}.Check()} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
		}
	}
	for _, region := range []string{"eusc-de-east-1", "us-gov-west-1", "us-iso-east-1", "mx-central-1"} {
		if err := checkAll(&Options{Region: region}, &Publication{Regions: []string{region}}); err != nil {
			t.Error(err)
		}
	}
}

func checkAll(list ...platforms.OptionChecker) error {
	for _, c := range list {
		if err := c.Check(); err != nil {
			return err
		}
	}
	return nil
}
