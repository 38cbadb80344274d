package openstack

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"

	"bake.build/bake/internal/testdisk"
	"bake.build/bake/internal/testopenstack"
	diskimage "bake.build/bake/platforms/image"
	"bake.build/bake/platforms/wait"
)

// TestHypervisor publishes a disk that bake has made of Debian's packages, and has Nova boot
// it by its own driver of libvirt, on a host whose QEMU emulates the processor: the console
// that Nova reads tells of GRUB, of the kernel and of the system.
func TestHypervisor(t *testing.T) {
	w := newWorld(t)
	p := publication("hypervisor", Publication{})
	p.Boot = "bios"
	disk := filepath.Join(t.TempDir(), "disk.raw")
	if err := diskimage.ConvertRaw(t.Context(), testdisk.Path(t), disk); err != nil {
		t.Fatal(err)
	}
	found, _ := w.publish(p, disk)
	i := w.get(found[0])
	c, err := w.driver.clients.compute(t.Context(), testopenstack.Region)
	if err != nil {
		t.Fatal(err)
	}
	gib := max(1, i.MinDiskGigabytes)
	f, err := flavors.Create(t.Context(), c, flavors.CreateOpts{Name: "emulated", RAM: 512, VCPUs: 1, Disk: &gib}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := flavors.Delete(context.Background(), c, f.ID).ExtractErr(); err != nil {
			t.Error(err)
		}
	}()
	if c, err = withVersion(t.Context(), c, 37); err != nil { // which has servers without a network
		t.Fatal(err)
	}
	s, err := servers.Create(t.Context(), c, servers.CreateOpts{
		Name: "emulated", ImageRef: i.ID, FlavorRef: f.ID, Networks: "none", AvailabilityZone: testopenstack.RealHost,
	}, nil).Extract()
	if err != nil {
		t.Fatal(err)
	}
	console := ""
	err = wait.Loop{What: "the system of the disk", Timeout: 10 * time.Minute, Backoff: wait.Backoff{Next: time.Second}}.Until(t.Context(), func(ctx context.Context) (bool, error) {
		s, err := w.driver.server(ctx, testopenstack.Region, s.ID)
		if err != nil || s == nil || s.Status == "ERROR" {
			t.Fatalf("the server is %s: %s, %v", s.Status, s.Fault.Message, err)
		}
		if s.Status != "ACTIVE" {
			return false, nil
		}
		console, err = servers.ShowConsoleOutput(ctx, c, s.ID, servers.ShowConsoleOutputOpts{}).Extract()
		return strings.Contains(console, "Debian GNU/Linux 12 (bookworm)"), err // which init of the disk says
	})
	// The firmware of a machine that Nova has made tells its name.
	if err != nil || !strings.Contains(console, "Booting `Linux") || !strings.Contains(console, "OpenStack Nova") {
		t.Errorf("%v: the console says:\n%s", err, console)
	}
	if err := servers.Delete(t.Context(), c, s.ID).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	if err := w.driver.removeID(t.Context(), testopenstack.Region, i.ID); err != nil {
		t.Error(err)
	}
}
