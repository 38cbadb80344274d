package aws

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/aws/awstest"
	"bake.build/bake/platforms/platformtest"
	"bake.build/bake/platforms/wait"
)

// TestCloseCancelled ends a machine whose layer AWS never gets done: a build that is
// cancelled does not wait for that.
func TestCloseCancelled(t *testing.T) {
	w := newWorld(t)
	w.newFleet()
	d := w.launching(func(o *Options) { o.Checkpoint = checkpointAll })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pm, err := d.Boot(ctx, []platforms.Layer{{Ref: w.cloud.AddImage(home, awstest.Image{Name: debian})}}, &platformtest.Log{})
	if err != nil {
		t.Fatal(err)
	}
	m := pm.(*machine)
	ref := w.save(m, "0a", false)
	m.Settle()
	w.cloud.Pending = 1 << 30
	second := w.save(m, "0b", false)
	closed := make(chan error, 1)
	go func() { closed <- m.Close() }()
	select {
	case err := <-closed:
		t.Fatalf("the machine does not wait for its layer: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	cancel()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	w.cloud.Pending = 0
	if layers, err := d.FindLayers(t.Context(), []string{"0a", "0b"}); err != nil || layers["0a"].Ref != ref || layers["0b"].Ref != second {
		t.Errorf("found %v, %v", layers, err)
	}
}

// TestGoneLayer begins on a layer that somebody has removed, which is found out by one
// request. One that this process has just made may not be known yet.
func TestGoneLayer(t *testing.T) {
	w := newWorld(t)
	_, _, err := w.booting(w.driver, "snap-0123456789abcdef0")
	if !errors.Is(err, wait.ErrGone) || !strings.Contains(err.Error(), "build again") {
		t.Errorf("got %v", err)
	}
	if n := w.cloud.Count("DescribeSnapshots"); n != 1 {
		t.Errorf("asked %d times", n)
	}
	w.driver.Cache.Began("snap-0123456789abcdef1")
	if _, _, err = w.booting(w.driver, "snap-0123456789abcdef1"); !errors.Is(err, wait.ErrGone) {
		t.Errorf("got %v", err)
	}
	if n := w.cloud.Count("DescribeSnapshots"); n != 1+unseenMost+1 {
		t.Errorf("asked %d times", n)
	}
}
