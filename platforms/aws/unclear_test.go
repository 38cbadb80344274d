package aws

import (
	"strings"
	"testing"

	"bake.build/bake/platforms/aws/awstest"
	"bake.build/bake/platforms/publish"
)

// TestLostAnswers lets the first answer of each request that makes something be lost:
// the try that follows is refused, and what is there is ours.
func TestLostAnswers(t *testing.T) {
	for _, op := range []string{"RegisterImage", "CopyImage", "CreateTags", "ModifyImageAttribute", "StartSnapshot"} {
		t.Run(op, func(t *testing.T) {
			w := newWorld(t)
			lost := false
			w.cloud.SetFault(func(c awstest.Call) *awstest.Fault {
				if c.Op == op && !lost {
					lost = true
					return &awstest.Fault{Lost: true}
				}
				return nil
			})
			w.mustPublish("abc", Publication{Regions: []string{"us-east-1"}, ShareWith: []string{"210987654321"}})
			if images, snapshots := len(w.cloud.Images(home))+len(w.cloud.Images("us-east-1")), len(w.cloud.Snapshots()); images != 2 || snapshots != 2 || !lost {
				t.Errorf("%d images and %d snapshots", images, snapshots)
			}
		})
	}
	// What no try answers for is looked for, and removed.
	w := newWorld(t)
	w.cloud.SetFault(func(c awstest.Call) *awstest.Fault {
		switch {
		case c.Op == "RegisterImage" && c.N == 1:
			return &awstest.Fault{Lost: true}
		case c.Op == "RegisterImage":
			return &awstest.Fault{Status: 403, Code: "AuthFailure", Message: "expired meanwhile"}
		case c.Op == "CreateTags":
			return &awstest.Fault{Status: 400, Code: "TagLimitExceeded"}
		}
		return nil
	})
	if _, _, err := w.publish("abc", Publication{}); err == nil {
		t.Error("nothing failed")
	}
	w.collect()
	if len(w.cloud.Images(home))+len(w.cloud.Snapshots()) != 0 {
		t.Errorf("left: %v, %v", w.cloud.Images(home), w.cloud.Snapshots())
	}
}

// TestRefusedRegistration leaves no snapshot behind.
func TestRefusedRegistration(t *testing.T) {
	w := newWorld(t)
	w.cloud.SetFault(func(c awstest.Call) *awstest.Fault {
		if c.Op == "RegisterImage" {
			return &awstest.Fault{Status: 400, Code: "InvalidParameterValue", Message: "no"}
		}
		return nil
	})
	if _, _, err := w.publish("abc", Publication{}); err == nil || len(w.cloud.Snapshots()) != 0 || len(w.host.Left()) != 0 {
		t.Errorf("%v; left %v, in the ledger %v", err, w.cloud.Snapshots(), w.host.Left())
	}
}

// TestTwoAtOnce has a second job register the image while the first one uploads.
func TestTwoAtOnce(t *testing.T) {
	w := newWorld(t)
	other := w.another("", "other")
	raced := false
	w.cloud.SetFault(func(c awstest.Call) *awstest.Fault {
		if c.Op == "RegisterImage" && !raced {
			raced = true
			other.mustPublish("abc", Publication{Regions: []string{"us-east-1"}})
		}
		return nil
	})
	found, log := w.mustPublish("abc", Publication{Regions: []string{"us-east-1"}})
	images := append(w.cloud.Images(home), w.cloud.Images("us-east-1")...)
	if len(images) != 2 || found[0].ID != images[0].ID || found[1].ID != images[1].ID || len(w.cloud.Snapshots()) != 2 || !strings.Contains(log, "is there already") {
		t.Errorf("found %v, images %v, snapshots %v\n%s", found, images, w.cloud.Snapshots(), log)
	}
}

// TestFailedCopy has AWS give up a copy: the next build makes it anew.
func TestFailedCopy(t *testing.T) {
	w := newWorld(t)
	o := Publication{Regions: []string{"us-east-1"}}
	w.cloud.SetFault(func(c awstest.Call) *awstest.Fault {
		if c.Op == "DescribeImages" && c.Region == "us-east-1" && c.Form.Get("ImageId.1") != "" {
			w.cloud.FailImage(c.Form.Get("ImageId.1"))
		}
		return nil
	})
	if _, _, err := w.publish("abc", o); err == nil || !strings.Contains(err.Error(), "AWS could not make it") {
		t.Errorf("got %v", err)
	}
	w.cloud.SetFault(nil)
	w.collect() // the image at home may not be finished
	if n := len(w.cloud.Images("us-east-1")); n != 0 {
		t.Errorf("%d failed images are left", n)
	}
	// One that another bake has left failed is no obstacle either.
	w.mustPublish("abc", o)
	for _, region := range []string{home, "us-east-1"} {
		w.cloud.FailImage(w.cloud.Images(region)[0].ID)
	}
	w.mustPublish("abc", o)
	if images, snapshots := len(w.cloud.Images(home))+len(w.cloud.Images("us-east-1")), len(w.cloud.Snapshots()); images != 2 || snapshots != 2 {
		t.Errorf("%d images and %d snapshots", images, snapshots)
	}
}

// TestConsistency has AWS know of what was made only after a while, and count snapshots
// as in use for a while after their image is gone.
func TestConsistency(t *testing.T) {
	w := newWorld(t)
	w.cloud.Unseen, w.cloud.Lingering = 2, 3
	for _, content := range []string{"one", "two"} {
		w.mustPublish(content, Publication{Regions: []string{"us-east-1"}, Retention: publish.Retention{Keep: 1}, ShareWith: []string{"210987654321"}, RetireShared: true})
	}
	if images, snapshots := len(w.cloud.Images(home))+len(w.cloud.Images("us-east-1")), len(w.cloud.Snapshots()); images != 2 || snapshots != 2 {
		t.Errorf("%d images and %d snapshots", images, snapshots)
	}
}
