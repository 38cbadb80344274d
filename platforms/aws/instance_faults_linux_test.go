package aws

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/aws/awstest"
	"bake.build/bake/platforms/platformtest"
	"bake.build/bake/platforms/publish"
	"bake.build/bake/platforms/ssh"
)

// booting opens a machine, which may fail.
func (w *world) booting(d *driver, ref string) (platforms.Machine, string, error) {
	out := &platformtest.Log{}
	m, err := d.Boot(w.Context(), []platforms.Layer{{Ref: ref}}, out)
	return m, out.String(), err
}

// TestBootFaults has instances that cannot be launched or used.
func TestBootFaults(t *testing.T) {
	refuse := func(op, code string) func(awstest.Call) *awstest.Fault {
		return func(c awstest.Call) *awstest.Fault {
			if c.Op == op {
				return &awstest.Fault{Status: 400, Code: code, Message: "the message of " + code}
			}
			return nil
		}
	}
	for name, c := range map[string]struct {
		fault func(awstest.Call) *awstest.Fault
		want  string
	}{
		"no capacity":   {refuse("RunInstances", "InsufficientInstanceCapacity"), "there is no capacity for an instance: give more instance_types"},
		"quota":         {refuse("RunInstances", "VcpuLimitExceeded"), "it is the account's quota: lower max_instances"},
		"not allowed":   {refuse("CreateSnapshot", "UnauthorizedOperation"), "these credentials may not make snapshots"},
		"no ssh":        {nil, "waited 300ms for the port 127.84.0.1:22"},
		"expired":       {refuse("RunInstances", "ExpiredToken"), "ExpiredToken"},
		"group refused": {refuse("AuthorizeSecurityGroupIngress", "RulesPerSecurityGroupLimitExceeded"), "make a security group"},
		"key refused":   {refuse("ImportKeyPair", "KeyPairLimitExceeded"), "make a key pair"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.cloud.SetFault(c.fault)
			ami := w.cloud.AddImage(home, awstest.Image{Name: debian})
			d := w.launching(func(o *Options) { o.BootTimeout, o.InstanceTypes = "300ms", []string{"m7i.large", "m6i.large"} })
			_, log, err := w.booting(d, ami)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s\n%s", err, c.want, log)
			}
			if name == "no ssh" && (err == nil || !strings.Contains(err.Error(), "last words on the console")) {
				t.Errorf("the console is not shown: %v", err)
			}
			if strings.Contains(log, "very secret") {
				t.Error("a secret is in the log")
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
			w.nothingLeft()
		})
	}
}

// TestBootAtLast has instances that can be used after all.
func TestBootAtLast(t *testing.T) {
	w := newWorld(t)
	w.newFleet()
	w.cloud.Pending = 2
	w.cloud.SetFault(func(c awstest.Call) *awstest.Fault {
		switch {
		case c.Op == "RunInstances" && c.Form.Get("InstanceType") == "m7i.large":
			return &awstest.Fault{Status: 500, Code: "InsufficientInstanceCapacity", Message: "none of these"}
		case c.N == 1 && c.Op == "DescribeInstances":
			return &awstest.Fault{Status: 503, Code: "RequestLimitExceeded", Message: "slow down"}
		case c.N == 2:
			return &awstest.Fault{Status: 500, Code: "InternalError", Message: "oh"}
		case c.N == 3:
			return &awstest.Fault{Drop: true}
		case c.Op == "CreateSnapshot" && c.N < 7 && c.Form.Get("DryRun") == "":
			return &awstest.Fault{Status: 400, Code: "SnapshotCreationPerVolumeRateExceeded", Message: "one in 15 seconds"}
		}
		return nil
	})
	d := w.launching(func(o *Options) { o.InstanceTypes = []string{"m7i.large", "m6i.large"} })
	m := w.boot(d, w.cloud.AddImage(home, awstest.Image{Name: debian}))
	if got := w.cloud.Instances()[0].Form.Get("InstanceType"); got != "m6i.large" {
		t.Errorf("launched a %s", got)
	}
	if ref := w.save(m, "0a", true); ref == "" {
		t.Error("a layer that is needed was not made")
	}
	if err := errors.Join(m.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	w.nothingLeft()
}

// TestTooManySnapshots does without a layer that nobody needs when AWS asks to wait.
func TestTooManySnapshots(t *testing.T) {
	w := newWorld(t)
	w.newFleet()
	w.cloud.SetFault(func(c awstest.Call) *awstest.Fault {
		if c.Op == "CreateSnapshot" && c.Form.Get("DryRun") == "" {
			return &awstest.Fault{Status: 400, Code: "SnapshotCreationPerVolumeRateExceeded", Message: "one in 15 seconds"}
		}
		return nil
	})
	d := w.launching(func(o *Options) { o.Checkpoint = checkpointAll })
	m := w.boot(d, w.cloud.AddImage(home, awstest.Image{Name: debian}))
	if ref := w.save(m, "0a", false); ref != "" {
		t.Errorf("made %s", ref)
	}
	w.sh(m, "test -s /root/.ssh/authorized_keys")
}

// TestInterruption takes a spot instance back while a command runs.
func TestInterruption(t *testing.T) {
	w := newWorld(t)
	w.newFleet()
	d := w.launching(func(o *Options) { o.Spot = true })
	m := w.boot(d, w.cloud.AddImage(home, awstest.Image{Name: debian}))
	started := &trigger{then: func() { w.cloud.Interrupt(m.id) }}
	err := m.Run(t.Context(), platforms.Cmd{Args: []string{"sh", "-c", "echo started; sleep 600"}, Stdout: started})
	if err == nil || !strings.Contains(err.Error(), "AWS took the spot instance back (Server.SpotInstanceTermination): build again") {
		t.Errorf("got %v", err)
	}
	if err := errors.Join(m.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	w.nothingLeft()
}

// A trigger does something when something is written to it.
type trigger struct {
	once sync.Once
	then func()
}

func (w *trigger) Write(p []byte) (int, error) {
	go w.once.Do(w.then)
	return len(p), nil
}

// TestFailedSnapshot has a layer that AWS cannot make.
func TestFailedSnapshot(t *testing.T) {
	w := newWorld(t)
	w.newFleet()
	d := w.launching(func(o *Options) { o.Checkpoint = checkpointAll })
	m := w.boot(d, w.cloud.AddImage(home, awstest.Image{Name: debian}))
	ref := w.save(m, "0a", true)
	m.Settle()
	w.cloud.Break(ref)
	if _, _, err := w.booting(d, ref); err == nil || !strings.Contains(err.Error(), "EBS: it could not be completed") || !strings.Contains(err.Error(), "build again") {
		t.Errorf("got %v", err)
	}
	if slices.Contains(w.cloud.Snapshots(), ref) {
		t.Error("the failed snapshot is there")
	}
	if found, err := d.FindLayers(t.Context(), []string{"0a"}); err != nil || len(found) != 0 {
		t.Errorf("found %v, %v", found, err)
	}
}

// TestLostSnapshot tells at the end of a machine of a layer that nobody needs and that
// AWS could not make.
func TestLostSnapshot(t *testing.T) {
	w := newWorld(t)
	w.newFleet()
	d := w.launching(func(o *Options) { o.Checkpoint = checkpointAll })
	m := w.boot(d, w.cloud.AddImage(home, awstest.Image{Name: debian}))
	w.cloud.SetFault(func(c awstest.Call) *awstest.Fault {
		if c.Op == "DescribeSnapshots" {
			w.cloud.Break(w.cloud.Snapshots()[0])
		}
		return nil
	})
	ref := w.save(m, "0a", false)
	err := m.Close()
	if err == nil || !strings.Contains(err.Error(), "the layer of step 0a is lost: ") || !strings.Contains(err.Error(), "EBS: it could not be completed") {
		t.Errorf("got %v", err)
	}
	w.cloud.SetFault(nil)
	if slices.Contains(w.cloud.Snapshots(), ref) {
		t.Error("the failed snapshot is there")
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	w.nothingLeft()
}

// whole does all that a build does with an instance. What it opened is closed.
func (w *world) whole(ctx context.Context, d *driver, ami string) error {
	m, err := d.Boot(ctx, []platforms.Layer{{Ref: ami}}, &platformtest.Log{})
	ref := ""
	if err == nil {
		var made platforms.Made
		made, err = m.Commit(ctx, platforms.State{Key: "0a", Name: "one", Needed: true})
		ref, err = made.Ref, errors.Join(err, m.Close())
	}
	if err == nil {
		m, err = d.Boot(ctx, []platforms.Layer{{Ref: ref}}, &platformtest.Log{})
	}
	if err == nil {
		err = m.Close()
	}
	return errors.Join(err, d.Close())
}

// TestStoppedWithInstances stops a build at each of its requests: by the user, after
// which nothing is left, and by its death, after which gc removes all.
func TestStoppedWithInstances(t *testing.T) {
	need.Slow(t)
	for n, finished := 1, false; !finished; n++ {
		for _, dies := range []bool{false, true} {
			w := newWorld(t)
			w.newFleet()
			ami := w.cloud.AddImage(home, awstest.Image{Name: debian})
			d := w.open(Options{Region: home, Endpoint: w.cloud.URL, Login: ssh.Login{User: "root", BootTimeout: "20s"}})
			d.clients.backoff = time.Millisecond
			ctx, stop := context.WithCancel(t.Context())
			var mu sync.Mutex
			requests := 0
			w.cloud.SetFault(func(awstest.Call) *awstest.Fault {
				mu.Lock()
				defer mu.Unlock()
				if requests++; requests == n && !dies {
					stop()
				} else if requests > n && dies {
					return &awstest.Fault{Status: 403, Code: "AccessDenied", Message: "it is dead"}
				}
				return nil
			})
			err := w.whole(ctx, d, ami)
			stop()
			finished = finished || err == nil && dies
			w.cloud.Settle()
			w.cloud.SetFault(nil)
			if dies && n%2 == 0 {
				w.byTags()
				w.host.Forget()
			} else {
				w.collect()
			}
			if !dies && len(w.cloud.Running()) > 0 {
				t.Errorf("stopped at request %d: left %v, %v", n, w.cloud.Running(), err)
			}
			if running := w.cloud.Running(); len(running) > 0 {
				t.Fatalf("stopped at request %d, dead %v: gc left %v", n, dies, running)
			}
			for _, i := range w.ownImages() {
				t.Errorf("stopped at request %d: gc left %+v", n, i)
			}
			for _, id := range w.cloud.Snapshots() {
				if w.cloud.Tags(id)[tagKey] == "" {
					t.Errorf("stopped at request %d: gc left %s", n, id)
				}
			}
			if n > 100 {
				t.Fatal("a build has no end")
			}
		}
	}
}

// plugin stands in for AWS's session-manager-plugin: it carries bytes to the address
// that the stand-in for AWS has put in place of a web socket's.
const plugin = `#!/bin/bash
[ "$1" = AWS_SSM_START_SESSION_RESPONSE ] && [ "$2" = eu-west-1 ] && [ "$3" = StartSession ] || exit 2
case "$*" in *"secret token"*) exit 3;; esac
host=$(printf %s "$AWS_SSM_START_SESSION_RESPONSE" | sed 's/.*wss:..\([0-9.]*\).*/\1/')
exec 3<>"/dev/tcp/$host/22"
cat <&3 &
exec cat >&3
`

// TestSessionManager goes into an instance by Session Manager. Nothing is let in by
// the security group.
func TestSessionManager(t *testing.T) {
	w := newWorld(t)
	w.newFleet()
	d := w.launching(func(o *Options) { o.Connect, o.InstanceProfile = connectSession, "managed" })
	t.Setenv("PATH", "/none")
	if problems := d.Check(); len(problems) != 1 || !strings.Contains(problems[0].What, "session-manager-plugin is not installed") {
		t.Errorf("without the plugin: %v", problems)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, sessionPlugin), []byte(plugin), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/usr/sbin:/usr/bin:/sbin:/bin")
	if problems := d.Check(); len(problems) != 0 {
		t.Errorf("with the plugin: %v", problems)
	}
	m := w.boot(d, w.cloud.AddImage(home, awstest.Image{Name: debian}))
	if got := w.sh(m, "echo here"); got != "here\n" {
		t.Errorf("got %q", got)
	}
	if groups := w.cloud.Groups(); len(groups) != 1 || len(groups[0]) != 0 {
		t.Errorf("the security group lets in %v", groups)
	}
	if err := errors.Join(m.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	w.nothingLeft()
}

// TestOwnVPC makes a VPC where the account has no default one, for the build alone.
func TestOwnVPC(t *testing.T) {
	w := newWorld(t)
	w.newFleet()
	w.cloud.NoDefaultVPC()
	ami := w.cloud.AddImage(home, awstest.Image{Name: debian})
	private := w.launching(func(o *Options) { o.Connect = connectPrivate })
	if _, _, err := w.booting(private, ami); err == nil || !strings.Contains(err.Error(), "no private address of a new one can be reached") {
		t.Errorf("by a private address: %v", err)
	}
	d := w.launching()
	m := w.boot(d, ami)
	if !w.cloud.Routed() {
		t.Error("the VPC has no route to the internet")
	}
	if err := errors.Join(m.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	w.nothingLeft()

	// And stopped at each of its requests.
	for n, finished := 1, false; !finished; n++ {
		var mu sync.Mutex
		requests := 0
		w.cloud.SetFault(func(awstest.Call) *awstest.Fault {
			mu.Lock()
			defer mu.Unlock()
			if requests++; requests > n {
				return &awstest.Fault{Status: 403, Code: "AccessDenied", Message: "it is dead"}
			}
			return nil
		})
		d := w.open(Options{Region: home, Endpoint: w.cloud.URL})
		_, err := d.place(t.Context())
		finished = errors.Join(err, d.Close()) == nil
		w.cloud.SetFault(nil)
		if n%2 == 0 {
			w.byTags()
			w.host.Forget()
		} else {
			w.collect()
		}
		if running := w.cloud.Running(); len(running) > 0 {
			t.Fatalf("stopped at request %d: left %v", n, running)
		}
		if n > 100 {
			t.Fatal("it has no end")
		}
	}
	w.byTags()
	for _, op := range []string{"RegisterImage", "CopyImage", "CreateImage", "DeregisterImage", "DescribeImageAttribute", "ModifyImageAttribute", "EnableImageDeprecation",
		"EnableImageDeregistrationProtection", "DisableImageDeprecation", "DisableImageDeregistrationProtection", "DeleteTags", "DescribeSnapshotAttribute", "ModifySnapshotAttribute", "GetImageBlockPublicAccessState", "GetSnapshotBlockPublicAccessState",
		"GetEbsEncryptionByDefault", "GetEbsDefaultKmsKeyId", "DescribeFleets", "DescribeSpotFleetRequests", "DescribeLaunchConfigurations", "DescribeLaunchTemplates", "DescribeLaunchTemplateVersions", "CreateTags", "DeleteSnapshot", "DeleteVolume",
		"GetConsoleOutput", "StartSession", "TerminateSession", "GetParameter", "PutParameter", "DescribeKey"} { // of the other policy
		w.cloud.Note(op)
	}
	w.policy("aws, instances", "aws, a VPC of the build's own")
}

// TestInstancePolicy compares what builds with instances ask of AWS with the policy
// that the documentation gives.
func TestInstancePolicy(t *testing.T) {
	w := newWorld(t)
	w.newFleet()
	key := "arn:aws:kms:eu-west-1:123456789012:key/k"
	ami := w.cloud.AddImage(home, awstest.Image{Name: debian, ProductCode: "abc", Owner: "aws-marketplace"})
	plain := w.cloud.AddImage(home, awstest.Image{Name: debian})
	w.cloud.SetParameter(home, "/latest", plain)
	d := w.launching(func(o *Options) { o.KMSKey = key })
	o := Publication{Regions: []string{"us-east-1"}, ShareWith: []string{"123456789012"}, SnapshotUsers: []string{"210987654321"}, DeprecateAfter: "24h", Protect: true, SSMParameter: "/images/web", ImageTags: map[string]string{"tier": "front"}, Retention: publish.Retention{Keep: 1}, RetireShared: true}
	if err := d.CheckPublish(t.Context(), layerPublication(Publication{Public: true, SnapshotUsers: []string{"all"}})); err != nil {
		t.Fatal(err)
	}
	w.cloud.EncryptByDefault, w.cloud.DefaultKey = true, key
	w.pinned(d, `{"ssm_parameter":"/latest"}`)
	for _, ref := range []string{plain, ami} {
		m := w.boot(d, ref)
		layer := w.save(m, "0a", true)
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		o.Description = ref
		if err := d.CheckPublish(t.Context(), layerPublication(o)); err != nil {
			t.Fatal(err)
		}
		bare := o
		bare.Protect, bare.DeprecateAfter, bare.ImageTags = false, "", nil
		for _, next := range []Publication{o, bare, o} {
			if _, err := d.Publish(t.Context(), layerPublication(next), platforms.ImageSource{Layer: layer}, &platformtest.Log{}); err != nil {
				t.Fatal(err)
			}
		}
		o.Protect = false
	}
	w.cloud.Template("ami-another")
	o.Description = "once more"
	if _, err := d.Publish(t.Context(), layerPublication(o), platforms.ImageSource{Layer: w.cloud.Snapshots()[0]}, &platformtest.Log{}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.PruneLayers(t.Context(), platforms.LayerPruning{MadeBefore: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	w.byTags()
	for _, op := range []string{"DeleteVolume", "GetConsoleOutput", "StartSession", "TerminateSession"} { // only where something is wrong, or by request
		w.cloud.Note(op)
	}
	w.policy("aws, instances")
}

// TestLostInInstances loses the first answer of each request that makes something, on an
// account where what is made is not known at once.
func TestLostInInstances(t *testing.T) {
	w := newWorld(t)
	w.newFleet()
	w.cloud.Unseen = 1
	d := w.launching(func(o *Options) { o.Checkpoint = checkpointAll })
	ops := []string{"CreateSecurityGroup", "AuthorizeSecurityGroupIngress", "ImportKeyPair", "RunInstances", "RegisterImage", "CreateSnapshot", "TerminateInstances"}
	lost := map[string]bool{}
	w.cloud.SetFault(func(c awstest.Call) *awstest.Fault {
		if slices.Contains(ops, c.Op) && !lost[c.Op] && c.Form.Get("DryRun") != "true" {
			lost[c.Op] = true
			return &awstest.Fault{Lost: true}
		}
		return nil
	})
	ref := w.cloud.AddImage(home, awstest.Image{Name: debian})
	for _, key := range []string{"0a", "0b"} {
		m := w.boot(d, ref)
		ref = w.save(m, key, false)
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	w.nothingLeft()
	if snapshots := w.cloud.Snapshots(); len(snapshots) != 2 || len(w.ownImages()) != 0 || len(lost) != len(ops) {
		t.Errorf("snapshots %v, images %v, lost %v", snapshots, w.ownImages(), lost)
	}
}
