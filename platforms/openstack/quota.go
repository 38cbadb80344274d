package openstack

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/gophercloud/gophercloud/v2"
	volumelimits "github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/limits"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/limits"
)

// A usage is what the project has of something that a quota limits.
type usage struct {
	what              string
	need, used, limit int
}

// exceeded returns the first of the quotas that does not have room. A limit below zero is
// none.
func exceeded(list []usage) *usage {
	n := slices.IndexFunc(list, func(u usage) bool { return u.limit >= 0 && u.used+u.need > u.limit })
	if n < 0 {
		return nil
	}
	return &list[n]
}

// mayLaunch asks for the project's quota, so that nothing is begun for a
// server of an image that cannot be.
func (d *driver) mayLaunch(ctx context.Context, i image, f *flavors.Flavor) error {
	c, err := d.clients.compute(ctx, i.region)
	if err != nil {
		return err
	}
	l, err := limits.Get(ctx, c, limits.GetOpts{}).Extract()
	if missing(err) || denied(err) {
		return nil // one that tells nobody
	} else if err != nil {
		return fmt.Errorf("ask for the project's quota: %w", explain(err))
	}
	a := l.Absolute
	q := exceeded([]usage{{"servers", 1, a.TotalInstancesUsed, a.MaxTotalInstances}, {"CPUs", f.VCPUs, a.TotalCoresUsed, a.MaxTotalCores}, {"MiB of memory", f.RAM, a.TotalRAMUsed, a.MaxTotalRAMSize}})
	if q != nil {
		return fmt.Errorf("the project's quota is %d %s, %d are used, and a server of the flavor %s takes %d: lower max_servers, or have the quota raised", q.limit, q.what, q.used, f.Name, q.need)
	}
	gib, err := d.volumeGiB(i)
	if err != nil || gib == 0 {
		return err
	}
	return d.mayHaveVolume(ctx, i.region, gib)
}

// mayHaveVolume is mayLaunch for a volume.
func (d *driver) mayHaveVolume(ctx context.Context, region string, gib int) error {
	c, err := d.clients.volumes(ctx, region)
	if err != nil {
		return err
	}
	l, err := volumelimits.Get(ctx, c).Extract()
	if missing(err) || denied(err) {
		return nil
	} else if err != nil {
		return fmt.Errorf("ask for the project's quota of volumes: %w", explain(err))
	}
	a := l.Absolute
	if q := exceeded([]usage{{"volumes", 1, a.TotalVolumesUsed, a.MaxTotalVolumes}, {"GiB of volumes", gib, a.TotalGigabytesUsed, a.MaxTotalVolumeGigabytes}}); q != nil {
		return fmt.Errorf("the project's quota is %d %s, %d are used, and a server takes %d: lower max_servers, or have the quota raised", q.limit, q.what, q.used, q.need)
	}
	return nil
}

// fits asks whether the project may have an image of some bytes more, where the cloud tells.
// They are negative where nobody knows, and 0 where none is sent yet. Glance counts whole
// MiB. One that is not staged may be larger than what is left: Glance refuses the next one
// then.
func fits(ctx context.Context, c *gophercloud.ServiceClient, region string, size int64, staged bool) error {
	var answer struct {
		Usage map[string]struct{ Limit, Usage int64 }
	}
	resp, err := c.Get(ctx, c.ServiceURL("info", "usage"), &answer, nil)
	if _, _, err = gophercloud.ParseResponse(resp, err); err != nil {
		if missing(err) || denied(err) || gophercloud.ResponseCodeIs(err, http.StatusMethodNotAllowed) {
			return nil // an older Glance, or one that tells nobody
		}
		return fmt.Errorf("%s: ask for the quota of images: %w", region, explain(err))
	}
	mib := max(size, 0) >> 20
	for _, name := range slices.Sorted(maps.Keys(answer.Usage)) {
		q := answer.Usage[name]
		switch {
		case q.Limit < 0:
		case q.Usage >= q.Limit && (name == "image_size_total" || name == "image_count_total" && size == 0):
			return fmt.Errorf("%s: the project's quota %s is used up: %d of %d", region, name, q.Usage, q.Limit)
		case staged && (name == "image_size_total" || name == "image_stage_total") && q.Usage+mib > q.Limit:
			return fmt.Errorf("%s: the project's quota %s is %d MiB, %d are used, and the disk has %d", region, name, q.Limit, q.Usage, mib)
		}
	}
	return nil
}
