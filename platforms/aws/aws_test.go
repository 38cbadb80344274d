package aws

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/aws/awstest"
	"bake.build/bake/platforms/aws/ebs"
	"bake.build/bake/platforms/platformtest"
	"bake.build/bake/platforms/publish"
)

// The tests of this package run against awstest, a stand-in: see there for what it
// is strict about. Those against moto, in cmd/bake, run whole builds.

// A world is an account with a driver on it.
type world struct {
	*testing.T
	cloud  *awstest.Cloud
	host   *platformtest.Host
	driver *driver
	disk   string
}

const home = "eu-west-1"

func newWorld(t *testing.T) *world {
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "very secret")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	w := &world{T: t, cloud: awstest.New(), host: &platformtest.Host{Dir: t.TempDir()}}
	t.Cleanup(w.cloud.Close)
	w.driver = w.open(Options{Region: home, Endpoint: w.cloud.URL, Tags: map[string]string{"team": "web"}})
	w.disk = filepath.Join(t.TempDir(), "disk.raw")
	w.write(1, 2, 100)
	return w
}

func (w *world) open(o Options) *driver {
	w.Helper()
	d, err := open(o, w.host, &logins{})
	if err != nil {
		w.Fatal(err)
	}
	d.pause = time.Millisecond
	d.clients.backoff = 10 * time.Millisecond
	return d
}

// write makes the disk one of 64 MiB, with data of its own in the blocks given.
func (w *world) write(seed byte, blocks ...int) {
	w.Helper()
	f, err := os.Create(w.disk)
	if err != nil {
		w.Fatal(err)
	}
	defer f.Close()
	r := rand.NewChaCha8([32]byte{seed})
	for _, i := range blocks {
		b := make([]byte, ebs.BlockSize)
		_, _ = r.Read(b) // never fails
		if _, err := f.WriteAt(b, int64(i)*ebs.BlockSize); err != nil {
			w.Fatal(err)
		}
	}
	if err := f.Truncate(64 << 20); err != nil {
		w.Fatal(err)
	}
}

func publication(content string, o Publication) platforms.Publication {
	text, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return platforms.Publication{Name: "web", Content: content, Key: content + string(text), Arch: "amd64", Boot: "bios+uefi", Options: text}
}

func (w *world) publish(content string, o Publication) ([]platforms.Registered, string, error) {
	out := &platformtest.Log{}
	found, err := w.driver.Publish(w.Context(), publication(content, o), platforms.ImageSource{Disk: w.disk}, out)
	return found, out.String(), err
}

func (w *world) mustPublish(content string, o Publication) ([]platforms.Registered, string) {
	w.Helper()
	found, log, err := w.publish(content, o)
	if err != nil {
		w.Fatalf("%v\n%s", err, log)
	}
	if left := w.host.Left(); len(left) > 0 {
		w.Errorf("left in the ledger: %v", left)
	}
	return found, log
}

func TestPublish(t *testing.T) {
	w := newWorld(t)
	w.cloud.Pending = 2
	o := Publication{
		Regions: []string{"us-east-1", home}, Description: "a web server", ImageTags: map[string]string{"tier": "front"},
		IOPS: 4000, Throughput: 250, VolumeSize: "9G", BootMode: "uefi", TPM: true, UEFIData: "QU1aTlVFRkk=", Encrypted: true, KMSKeys: map[string]string{home: keys + "h", "us-east-1": "arn:aws:kms:us-east-1:123456789012:key/k"},
		ShareWith:      []string{"123456789012", "arn:aws:organizations::123456789012:organization/o-1", "arn:aws:organizations::123456789012:ou/o-1/ou-1"},
		DeprecateAfter: "24h", Protect: true, SSMParameter: "/images/web",
	}
	if _, why, err := w.driver.Published(t.Context(), publication("abc", o)); err != nil || why == "" {
		t.Errorf("before: %q, %v", why, err)
	}
	if err := w.driver.CheckPublish(t.Context(), publication("abc", o)); err != nil {
		t.Fatal(err)
	}
	found, _ := w.mustPublish("abc", o)
	if len(found) != 2 || found[0].Place != home || found[1].Place != "us-east-1" || found[0].Name != found[1].Name || !strings.HasPrefix(found[0].Name, "web-") {
		t.Fatalf("found %+v", found)
	}
	for n, r := range found {
		images := w.cloud.Images(r.Place)
		if len(images) != 1 || images[0].ID != r.ID {
			t.Fatalf("%s: %+v", r.Place, images)
		}
		i := images[0]
		if len(i.Permissions) != 3 || !i.Protected || i.Deprecated == "" || w.cloud.Parameter(r.Place, "/images/web") != i.ID {
			t.Errorf("%s: not finished: %+v", r.Place, i)
		}
		for _, id := range []string{i.ID, i.Snapshot} {
			tags := w.cloud.Tags(id)
			if tags["team"] != "web" || tags["tier"] != "front" || tags[tagName] != "web" || tags[tagBuild] != "build" || tags["Name"] != i.Name {
				t.Errorf("%s: tags of %s: %v", r.Place, id, tags)
			}
		}
		if n == 0 {
			for name, want := range map[string]string{
				"Architecture": "x86_64", "BootMode": "uefi", "EnaSupport": "true", "TpmSupport": "v2.0", "UefiData": "QU1aTlVFRkk=", "ImdsSupport": "v2.0",
				"RootDeviceName": "/dev/xvda", "VirtualizationType": "hvm", "Description": "a web server",
				"BlockDeviceMapping.1.DeviceName": "/dev/xvda", "BlockDeviceMapping.1.Ebs.VolumeSize": "9", "BlockDeviceMapping.1.Ebs.VolumeType": "gp3",
				"BlockDeviceMapping.1.Ebs.Iops": "4000", "BlockDeviceMapping.1.Ebs.Throughput": "250", "BlockDeviceMapping.1.Ebs.DeleteOnTermination": "true",
			} {
				if got := i.Form.Get(name); got != want {
					t.Errorf("registered with %s %q, want %q", name, got, want)
				}
			}
		} else if !strings.HasSuffix(i.Form.Get("KmsKeyId"), ":key/k") || i.Form.Get("Encrypted") != "true" {
			t.Errorf("copied with %v", i.Form)
		}
	}

	// Nothing changed: one request a region says so.
	before := w.cloud.Requests()
	again, why, err := w.driver.Published(t.Context(), publication("abc", o))
	if err != nil || why != "" || !sameImages(again, found) {
		t.Errorf("after: %v %q %v", again, why, err)
	}
	if n := w.cloud.Requests() - before; n != 2 {
		t.Errorf("%d requests", n)
	}

	// What can be changed of an image is changed, and nothing is sent.
	sent := w.cloud.Count("PutSnapshotBlock")
	o.ShareWith = []string{"123456789012", "210987654321"}
	if _, why, err := w.driver.Published(t.Context(), publication("abc", o)); err != nil || why == "" {
		t.Errorf("with other permissions: %q, %v", why, err)
	}
	changed, _ := w.mustPublish("abc", o)
	if !sameImages(changed, found) || w.cloud.Count("PutSnapshotBlock") != sent {
		t.Errorf("made again: %v", changed)
	}
	if got := w.cloud.Images("us-east-1")[0].Permissions; fmt.Sprint(got) != "[123456789012 210987654321]" {
		t.Errorf("permissions %v", got)
	}
}

func TestBootMode(t *testing.T) {
	for _, c := range []struct{ arch, boot, option, want string }{
		{"amd64", "bios+uefi", "", "uefi-preferred"}, {"amd64", "bios", "", "legacy-bios"}, {"amd64", "uefi", "", "uefi"},
		{"amd64", "", "", ""}, {"arm64", "", "", "uefi"}, {"amd64", "bios+uefi", "legacy-bios", "legacy-bios"},
	} {
		j := &job{p: platforms.Publication{Arch: c.arch, Boot: c.boot}, o: Publication{BootMode: c.option}}
		if got := string(j.bootMode()); got != c.want {
			t.Errorf("%+v: got %q", c, got)
		}
	}
}

// TestDelta publishes a disk that has changed: only that travels.
func TestDelta(t *testing.T) {
	w := newWorld(t)
	first, _ := w.mustPublish("one", Publication{})
	w.write(1, 2, 100)
	f, err := os.OpenFile(w.disk, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte("changed"), 2*ebs.BlockSize+99)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	sent := w.cloud.Count("PutSnapshotBlock")
	second, log := w.mustPublish("two", Publication{})
	if n := w.cloud.Count("PutSnapshotBlock") - sent; n != 1 {
		t.Errorf("%d blocks were sent", n)
	}
	if first[0].ID == second[0].ID || !strings.Contains(log, "on top of") {
		t.Errorf("%v, %v\n%s", first, second, log)
	}
	disk, err := os.ReadFile(w.disk)
	if err != nil {
		t.Fatal(err)
	}
	snapshot := w.cloud.Images(home)[1].Snapshot
	for i := range len(disk) / ebs.BlockSize {
		if !bytes.Equal(w.cloud.Content(snapshot, i), disk[i*ebs.BlockSize:(i+1)*ebs.BlockSize]) {
			t.Errorf("block %d differs", i)
		}
	}
	// And back.
	pulled := filepath.Join(t.TempDir(), "pulled.raw")
	if err := w.driver.Pull(t.Context(), second[0].ID, pulled, &platformtest.Log{}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(pulled)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1<<30 || !bytes.Equal(got[:len(disk)], disk) {
		t.Errorf("%d bytes were read back, which differ", len(got))
	}
	if err := w.driver.Pull(t.Context(), "ami-0", pulled+"2", &platformtest.Log{}); err == nil || !strings.Contains(err.Error(), "there is no image ami-0") {
		t.Errorf("got %v", err)
	}
	// Without the parent all of it travels.
	for _, i := range w.cloud.Images(home) {
		if err := w.driver.deregister(t.Context(), image{region: home, id: i.ID, snapshots: []string{i.Snapshot}}, true); err != nil {
			t.Fatal(err)
		}
	}
	sent = w.cloud.Count("PutSnapshotBlock")
	if _, log := w.mustPublish("three", Publication{}); w.cloud.Count("PutSnapshotBlock")-sent != 2 || strings.Contains(log, "on top of") {
		t.Errorf("%d blocks were sent\n%s", w.cloud.Count("PutSnapshotBlock")-sent, log)
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		o    Publication
		want string
	}{
		"region":       {Publication{Regions: []string{"Europe"}}, `regions: "Europe" is no name of a region`},
		"no region":    {Publication{Regions: []string{"eu-north-9"}}, "AWS has no region eu-north-9"},
		"not enabled":  {Publication{Regions: []string{awstest.NotEnabled}}, "the region ap-east-1 is not enabled for this account"},
		"account":      {Publication{ShareWith: []string{"1234"}}, `share_with: "1234" is neither an account number`},
		"name":         {Publication{ImageName: "w"}, `image_name: "w"`},
		"tpm":          {Publication{TPM: true}, "a NitroTPM needs boot_mode"},
		"uefi data":    {Publication{UEFIData: "x"}, "uefi_data: needs boot_mode"},
		"public":       {Publication{Public: true, Encrypted: true}, "an encrypted image cannot be public"},
		"size":         {Publication{VolumeSize: "1500M"}, "want whole GiB"},
		"description":  {Publication{Description: strings.Repeat("ä", 256)}, "description: it has 256 characters"},
		"a time":       {Publication{ImageName: "web 2026-11-28T15:00"}, `.replace(":", "-")`},
		"iops of gp2":  {Publication{VolumeType: "gp2", IOPS: 3000}, "iops: cannot be chosen for gp2"},
		"no iops":      {Publication{VolumeType: "io2"}, "iops: io2 volumes need them"},
		"many iops":    {Publication{VolumeSize: "8G", IOPS: 5000}, "at most 500 for each GiB"},
		"few iops":     {Publication{IOPS: 100}, "iops: gp3 volumes have 3000 to 80000"},
		"throughput":   {Publication{Throughput: 1000}, "a quarter of iops"},
		"old":          {Publication{DeprecateAfter: "90000h"}, "10 years at most"},
		"users":        {Publication{SnapshotUsers: []string{"me"}}, `snapshot_users: "me" is neither`},
		"all's":        {Publication{SnapshotUsers: []string{"all"}, Encrypted: true}, "an encrypted snapshot cannot be everybody's"},
		"AWS's key":    {Publication{ShareWith: []string{"210987654321"}, Encrypted: true}, "what the key alias/aws/ebs of AWS encrypts cannot be shared"},
		"keys":         {Publication{KMSKeys: map[string]string{"here": "x"}}, `kms_keys: "here"`},
		"keep":         {Publication{Retention: publish.Retention{Keep: -1}}, "keep: -1"},
		"deprecation":  {Publication{DeprecateAfter: "soon"}, "deprecate_after"},
		"keys' region": {Publication{KMSKeys: map[string]string{"us-east-1": "x"}}, `kms_keys: the image does not go to us-east-1`},
	} {
		err := w.driver.CheckPublish(t.Context(), publication("abc", c.o))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
	if err := os.Truncate(w.disk, 5<<28); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.publish("abc", Publication{VolumeSize: "1G"}); err == nil || !strings.Contains(err.Error(), "less than the disk, which has 2G") {
		t.Errorf("a volume that is too small: %v", err)
	}
	o := Publication{ImageName: "taken"}
	w.mustPublish("abc", o)
	want := "the name taken is taken by the image ami-"
	if err := w.driver.CheckPublish(t.Context(), publication("def", o)); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a name that is taken: %v", err)
	}
	for op, want := range map[string]string{
		"RegisterImage": home + ": these credentials may not register images", "CopyImage": "us-east-1: these credentials may not copy images",
	} {
		w.cloud.SetFault(func(c awstest.Call) *awstest.Fault {
			if c.Op == op {
				return &awstest.Fault{Status: 403, Code: "UnauthorizedOperation", Message: "You are not authorized to perform this operation."}
			}
			return nil
		})
		err := w.driver.CheckPublish(t.Context(), publication("def", Publication{Regions: []string{"us-east-1"}}))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	w.cloud.SetFault(nil)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	bare := w.open(Options{Region: home, Endpoint: w.cloud.URL})
	if err := bare.CheckPublish(t.Context(), publication("abc", Publication{})); err == nil || !strings.Contains(err.Error(), "aws: no credentials: set AWS_PROFILE") {
		t.Errorf("without credentials: %v", err)
	}
}

func TestRetention(t *testing.T) {
	w := newWorld(t)
	uses := []struct{ by, want string }{
		{"instance", "in use by i-"}, {"template", "in use by lt-"}, {"parameter", "in use by lt-"}, {"configuration", "in use by the launch configuration workers"},
		{"fleet", "in use by fleet-1"}, {"spot fleet", "in use by sfr-1"}, {"shared", "in use by 210987654321, it is shared"}, {"users", "in use by users of its snapshots"}, {"nobody", "deregistered"},
	}
	for n, u := range uses {
		o := Publication{}
		switch u.by {
		case "shared":
			o.ShareWith = []string{"210987654321"}
		case "users":
			o.SnapshotUsers = []string{"210987654321"}
		}
		found, _ := w.mustPublish(u.by, o)
		switch id := found[0].ID; u.by {
		case "instance":
			w.cloud.Launch(id)
		case "template":
			w.cloud.Template(id)
		case "parameter":
			w.cloud.SetParameter(home, "/images/web", id)
			w.cloud.Template("resolve:ssm:/images/web")
			w.cloud.Template("resolve:ssm:/images/none")
		default:
			w.cloud.Use(u.by, id)
		}
		if len(w.cloud.Images(home)) != n+1 {
			t.Fatalf("%s: %v", u.by, w.cloud.Images(home))
		}
	}
	w.mustPublish("kept", Publication{})
	deny := func(c awstest.Call) *awstest.Fault {
		if c.Op == "DescribeLaunchConfigurations" {
			return &awstest.Fault{Status: 403, Code: "AccessDenied", Message: "not authorized"}
		}
		return nil
	}
	w.cloud.SetFault(deny)
	if _, log := w.mustPublish("new", Publication{Retention: publish.Retention{Keep: 2}}); len(w.cloud.Images(home)) != len(uses)+2 || !strings.Contains(log, "these credentials may not see what uses them") {
		t.Errorf("in doubt:\n%s", log)
	}
	w.cloud.SetFault(nil)
	_, log := w.mustPublish("new", Publication{Retention: publish.Retention{Keep: 2}, Description: ""})
	for _, u := range uses {
		if !strings.Contains(log, u.want) {
			t.Errorf("%s: want %q in\n%s", u.by, u.want, log)
		}
	}
	images := w.cloud.Images(home)
	if len(images) != len(uses)+1 || len(w.cloud.Snapshots()) != len(images) {
		t.Errorf("%d images and %d snapshots are left", len(images), len(w.cloud.Snapshots()))
	}
	w.mustPublish("new", Publication{Retention: publish.Retention{Keep: 2}, RetireShared: true})
	if left := w.cloud.Images(home); len(left) != len(uses)-1 || len(w.cloud.Snapshots()) != len(left) {
		t.Errorf("with retire_shared %d images and %d snapshots are left", len(left), len(w.cloud.Snapshots()))
	}
}

// TestFaults breaks publications in each way and at each place. Those that can end
// in an image do, when they are run again at the latest; nothing is left behind.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		fault func(awstest.Call) *awstest.Fault
		want  string // of the error; "" for none
	}{
		"throttled": {func(c awstest.Call) *awstest.Fault {
			if c.N == 1 {
				return &awstest.Fault{Status: 503, Code: "RequestLimitExceeded", Message: "Request limit exceeded."}
			}
			return nil
		}, ""},
		"errors of the server": {func(c awstest.Call) *awstest.Fault {
			if c.N%3 != 0 {
				return &awstest.Fault{Status: 500, Code: "InternalError", Message: "An internal error has occurred"}
			}
			return nil
		}, ""},
		"connections that break": {func(c awstest.Call) *awstest.Fault {
			if c.N%4 == 1 {
				return &awstest.Fault{Drop: true}
			}
			return nil
		}, ""},
		"blocks are refused": {func(c awstest.Call) *awstest.Fault {
			if c.Op == "PutSnapshotBlock" && c.N == 2 {
				return &awstest.Fault{Status: 403, Code: "AccessDeniedException", Message: "not authorized to perform: ebs:PutSnapshotBlock"}
			}
			return nil
		}, "not authorized to perform: ebs:PutSnapshotBlock"},
		"too many snapshots": {func(c awstest.Call) *awstest.Fault {
			if c.Op == "StartSnapshot" && c.N == 1 {
				return &awstest.Fault{Status: 402, Code: "ServiceQuotaExceededException", Message: "too many snapshots in progress"}
			}
			return nil
		}, "too many snapshots in progress"},
		"credentials expire": {func(c awstest.Call) *awstest.Fault {
			if c.Op == "PutSnapshotBlock" && c.N == 2 {
				return &awstest.Fault{Status: 403, Code: "ExpiredTokenException", Message: "The security token included in the request is expired"}
			}
			return nil
		}, "security token included in the request is expired"},
		"registering is refused": {func(c awstest.Call) *awstest.Fault {
			if c.Op == "RegisterImage" && c.N == 1 {
				return &awstest.Fault{Status: 403, Code: "UnauthorizedOperation", Message: "You are not authorized to perform this operation."}
			}
			return nil
		}, "register the image"},
		"many copies at once": {func(c awstest.Call) *awstest.Fault {
			if c.Op == "CopyImage" && c.N < 4 {
				return &awstest.Fault{Status: 400, Code: "ResourceLimitExceeded", Message: "too many copies in progress"}
			}
			return nil
		}, ""},
		"a copy is refused": {func(c awstest.Call) *awstest.Fault {
			if c.Op == "CopyImage" && c.N == 1 {
				return &awstest.Fault{Status: 400, Code: "InvalidRequest", Message: "the image cannot be copied"}
			}
			return nil
		}, "us-east-1: copy the image: "},
		"sharing is refused": {func(c awstest.Call) *awstest.Fault {
			if c.Op == "ModifyImageAttribute" && c.N == 1 {
				return &awstest.Fault{Status: 400, Code: "InvalidAMIAttributeItemValue", Message: "Invalid attribute item value"}
			}
			return nil
		}, "share it"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.cloud.SetFault(c.fault)
			o := Publication{Regions: []string{"us-east-1"}, ShareWith: []string{"123456789012"}}
			_, log, err := w.publish("abc", o)
			if c.want == "" && err != nil {
				t.Fatalf("%v\n%s", err, log)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Fatalf("got %v, want %s", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "very secret") {
				t.Error("the error tells the secret")
			}
			if c.want != "" {
				w.collect()
				w.mustPublish("abc", o)
			}
			if images, snapshots := len(w.cloud.Images(home))+len(w.cloud.Images("us-east-1")), len(w.cloud.Snapshots()); images != 2 || snapshots != 2 {
				t.Errorf("%d images and %d snapshots", images, snapshots)
			}
		})
	}
}

// collect removes what the ledger holds, as gc does once the build is dead.
func (w *world) collect() {
	w.Helper()
	before := w.cloud.SetFault(nil)
	defer func() { w.cloud.SetFault(before) }()
	for _, r := range w.host.Left() {
		if _, err := w.driver.Collect(w.Context(), r); err != nil {
			w.Errorf("collect %v: %v", r, err)
		}
	}
	w.host.Forget()
}

// TestBrokenSnapshot lets the snapshot fail that is being waited for.
func TestBrokenSnapshot(t *testing.T) {
	w := newWorld(t)
	w.cloud.Pending = 3
	w.cloud.SetFault(func(c awstest.Call) *awstest.Fault {
		if c.Op == "DescribeSnapshots" && c.N == 1 {
			w.cloud.Break(w.cloud.Snapshots()[0])
		}
		return nil
	})
	if _, _, err := w.publish("abc", Publication{}); err == nil || !strings.Contains(err.Error(), "EBS: it could not be completed") {
		t.Errorf("got %v", err)
	}
	w.cloud.SetFault(nil)
	w.mustPublish("abc", Publication{})
	if n := len(w.cloud.Snapshots()); n != 1 {
		t.Errorf("%d snapshots", n)
	}
}

// TestStoppedAnywhere stops a publication at each of its requests. Then, in turns,
// gc cleans up, by the ledger or by tags alone, or the next build goes on.
func TestStoppedAnywhere(t *testing.T) {
	o := Publication{Regions: []string{"us-east-1"}, ShareWith: []string{"123456789012"}}
	finished := 0
	for n := 1; finished == 0; n++ {
		w := newWorld(t)
		w.cloud.Pending = 1
		ctx, stop := context.WithCancel(t.Context())
		var mu sync.Mutex
		requests := 0
		w.cloud.SetFault(func(awstest.Call) *awstest.Fault {
			mu.Lock()
			defer mu.Unlock()
			if requests++; requests == n {
				stop()
			}
			return nil
		})
		_, err := w.driver.Publish(ctx, publication("abc", o), platforms.ImageSource{Disk: w.disk}, &platformtest.Log{})
		stop()
		if err == nil {
			finished = n
		}
		w.cloud.Settle()
		w.cloud.SetFault(nil)
		switch n % 3 {
		case 0:
			w.collect()
			w.clean(n, err == nil)
		case 1:
			for range 2 { // an image's snapshot goes with it
				w.byTags()
			}
			w.clean(n, err == nil)
			w.host.Forget()
		}
		if _, _, err := w.publish("abc", o); err != nil {
			t.Fatalf("stopped at request %d, then: %v", n, err)
		}
		if n%3 == 2 {
			w.collect() // what the first build had begun is the second's: it stays
		}
		for _, region := range []string{home, "us-east-1"} {
			if images := w.cloud.Images(region); len(images) != 1 || images[0].Tags[tagReady] == "" {
				t.Errorf("stopped at request %d: %s: %+v", n, region, images)
			}
		}
		if snapshots := w.cloud.Snapshots(); len(snapshots) != 2 {
			t.Errorf("stopped at request %d: snapshots %v", n, snapshots)
		}
	}
	if finished < 12 {
		t.Errorf("a publication has %d requests only", finished)
	}
}

// byTags removes what tags alone tell of, as gc on another host does.
func (w *world) byTags() {
	w.Helper()
	other := w.open(Options{Region: "eu-central-1", Endpoint: w.cloud.URL})
	found, err := other.Orphans(w.Context(), time.Now().Add(time.Minute))
	if err != nil {
		w.Fatal(err)
	}
	for _, r := range found {
		if _, err := other.Collect(w.Context(), r); err != nil {
			w.Errorf("collect %v: %v", r, err)
		}
	}
}

// clean wants nothing to be there but finished images.
func (w *world) clean(n int, finished bool) {
	w.Helper()
	used := map[string]bool{}
	for _, region := range awstest.Regions {
		for _, i := range w.cloud.Images(region) {
			used[i.Snapshot] = true
			if i.Tags[tagReady] == "" {
				w.Errorf("stopped at request %d: left %+v", n, i)
			}
		}
	}
	left := slices.DeleteFunc(w.cloud.Snapshots(), func(id string) bool { return used[id] })
	if len(left) > 0 || finished && len(used) != 2 {
		w.Errorf("stopped at request %d: left %v, used %v", n, left, used)
	}
}

// TestPolicy compares what is asked of AWS with the policy that the documentation
// gives for images without an instance.
func TestPolicy(t *testing.T) {
	w := newWorld(t)
	if err := w.driver.CheckPublish(t.Context(), publication("one", Publication{Public: true, SnapshotUsers: []string{"all"}})); err != nil {
		t.Fatal(err)
	}
	w.cloud.EncryptByDefault, w.cloud.DefaultKey = true, keys+"a"
	o := Publication{Regions: []string{"us-east-1"}, ShareWith: []string{"123456789012"}, SnapshotUsers: []string{"210987654321"}, DeprecateAfter: "24h", Protect: true, SSMParameter: "/images/web", Retention: publish.Retention{Keep: 1}, RetireShared: true}
	if err := w.driver.CheckPublish(t.Context(), publication("one", o)); err != nil {
		t.Fatal(err)
	}
	found, _ := w.mustPublish("one", o)
	w.cloud.Template("resolve:ssm:/images/web")
	o.Protect, o.DeprecateAfter, o.SSMParameter, o.ImageTags = false, "", "", map[string]string{"tier": "front"}
	w.mustPublish("one", o)
	o.ImageTags, o.SSMParameter, o.Protect = nil, "/images/web", true
	w.mustPublish("one", o)
	o.Protect = false
	w.mustPublish("two", o)
	w.mustPublish("three", o)
	w.byTags()
	if err := w.driver.Pull(t.Context(), found[0].ID, filepath.Join(t.TempDir(), "disk"), &platformtest.Log{}); err != nil {
		t.Fatal(err)
	}
	w.policy("aws, no instance")
}

// policy compares what was asked for with policies of the documentation.
func (w *world) policy(names ...string) {
	w.Helper()
	services := map[string]string{
		"PutParameter": "ssm", "GetParameter": "ssm", "StartSession": "ssm", "TerminateSession": "ssm", "DescribeKey": "kms",
		"DescribeLaunchConfigurations": "autoscaling", "GetCallerIdentity": "sts", "AssumeRole": "sts", "StartSnapshot": "ebs", "PutSnapshotBlock": "ebs", "CompleteSnapshot": "ebs", "ListSnapshotBlocks": "ebs", "GetSnapshotBlock": "ebs",
	}
	var want, got []string
	for _, op := range w.cloud.Operations() {
		service := services[op]
		if service == "" {
			service = "ec2"
		}
		if op != "GetCallerIdentity" { // everybody may ask for that
			want = append(want, service+":"+op)
		}
	}
	for _, name := range names {
		got = append(got, w.allowed(name)...)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.Errorf("the policy of the documentation allows\n%v, and used are\n%v", got, want)
	}
}

// allowed returns the actions that a policy of the documentation allows.
func (w *world) allowed(name string) []string {
	w.Helper()
	doc, err := os.ReadFile("../../docs/platforms.md")
	if err != nil {
		w.Fatal(err)
	}
	_, text, _ := strings.Cut(string(doc), "<!-- policy: "+name+" -->\n```json\n")
	text, _, ok := strings.Cut(text, "```")
	if !ok {
		w.Fatalf("docs/platforms.md has no policy %q", name)
	}
	var policy struct {
		Statement []struct {
			Effect   string
			Action   []string
			Resource string
		}
	}
	if err := json.Unmarshal([]byte(text), &policy); err != nil {
		w.Fatal(err)
	}
	var actions []string
	for _, s := range policy.Statement {
		for _, action := range s.Action {
			if action != "iam:PassRole" { // nobody asks for it: RunInstances with an instance profile needs it
				actions = append(actions, action)
			}
		}
	}
	return actions
}

// sameImages reports whether two lists are of the same images, in the same order.
func sameImages(a, b []platforms.Registered) bool {
	return slices.EqualFunc(a, b, func(x, y platforms.Registered) bool {
		return x.ID == y.ID && x.Place == y.Place && x.Name == y.Name && x.Created.Equal(y.Created)
	})
}
