package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"bake.build/bake/platforms/aws/awstest"
)

// The link to the stand-in for AWS: what each request waits, and how many bytes a
// second all of them have together.
const (
	linkLatency   = 20 * time.Millisecond
	linkBandwidth = 40 << 20
)

// ebsContent is the size of the file of noise in the image that is published, on a
// disk of 4 GiB.
const ebsContent = 512 << 20

// ebsDefinition publishes an image. A small file comes after the large one.
const ebsDefinition = `
layer = source(rootfs(), scratch = True)
for name in ["/boot/vmlinuz", "/boot/initrd.img", "/sbin/init"]:
    layer = write(layer, name, "never started\n", mode = "0755")
layer = copy(layer, "content", "/content")
layer = copy(layer, "small", "/small")
export(layer, "web", to = [aws(region = "eu-west-1")], size = "4G")
`

// measureEBS publishes an image on a stand-in for AWS with a link of a known speed,
// then changes one small file of it, then nothing.
func measureEBS(ctx context.Context, b *bench) ([]row, error) {
	dir, err := b.subdir("ebs")
	if err != nil {
		return nil, err
	}
	w := &uploadWatch{}
	cloud := awstest.New(func(c *awstest.Cloud) {
		c.Latency, c.Bandwidth = linkLatency, linkBandwidth
		c.SetFault(w.see)
	})
	defer cloud.Close()
	if err := writeNoise(filepath.Join(dir, "content"), ebsContent); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "images.star"), []byte(ebsDefinition), 0o644); err != nil {
		return nil, err
	}
	p := project{bake: b.bake, dir: dir, store: dir + ".store"}
	publish := func(what, small string) (usage, error) {
		b.logf("bake publishes an image: %s", what)
		if err := os.WriteFile(filepath.Join(dir, "small"), []byte(small), 0o644); err != nil {
			return usage{}, err
		}
		w.reset()
		c := p.command("build", "images.star", "--progress=plain")
		c.env = append(c.env, "AWS_ENDPOINT_URL="+cloud.URL, "AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret",
			"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE="+dir+".none", "AWS_SHARED_CREDENTIALS_FILE="+dir+".none")
		c.watch = true
		return c.run(ctx)
	}
	first, err := publish("512 MiB of noise on a disk of 4 GiB", "one")
	if err != nil {
		return nil, err
	}
	all, took := w.blocks, w.last.Sub(w.first)
	if _, err := publish("one small file has changed", "two"); err != nil {
		return nil, err
	}
	changed := w.blocks
	before := cloud.Requests()
	if _, err := publish("nothing has changed", "two"); err != nil {
		return nil, err
	}
	asked := cloud.Requests() - before
	if all == 0 || changed == 0 {
		return nil, fmt.Errorf("%d blocks were sent, then %d", all, changed)
	}
	b.note(fmt.Sprintf("the link to the stand-in for AWS has %d MiB/s, and each request %v; %d requests were in flight at most", linkBandwidth>>20, linkLatency, cloud.MostInFlight()))
	return []row{
		row{
			Name: fmt.Sprintf("EBS upload of %d blocks", all), Got: took.Seconds(), Unit: "s",
			Than: "the link alone", Base: float64(all) * (512 << 10) / linkBandwidth, Limit: 1.15,
		}.finish(),
		row{Name: "  memory of bake", Got: mib(first.own), Unit: "MiB", Limit: 128}.finish(),
		row{Name: "  blocks after a change of one file", Got: float64(changed), Unit: "blocks", Than: "all", Base: float64(all), Limit: 0.02}.finish(),
		row{Name: "  requests when nothing changed", Got: float64(asked), Unit: "requests", Limit: 1}.finish(),
	}, nil
}

// An uploadWatch sees when blocks are sent, and how many.
type uploadWatch struct {
	mu          sync.Mutex
	first, last time.Time
	blocks      int
}

func (w *uploadWatch) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.first, w.last, w.blocks = time.Time{}, time.Time{}, 0
}

// see takes the time from the begin of the snapshot to its end.
func (w *uploadWatch) see(c awstest.Call) *awstest.Fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch c.Op {
	case "StartSnapshot":
		w.first = time.Now()
	case "PutSnapshotBlock":
		w.blocks++
	case "CompleteSnapshot":
		w.last = time.Now()
	}
	return nil
}
