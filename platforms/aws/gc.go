package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/sync/errgroup"

	"bake.build/bake/platforms"
)

// Kinds of resources. A snapshot is found by its token; an image by its name. Both
// are looked for by their tags: a record is written before there is an id.
const (
	kindSnapshot = "snapshot"
	kindImage    = "image"
)

// Collect implements platforms.Collector. What was finished after all, by this
// build or by one that took it over, is left alone.
func (d *driver) Collect(ctx context.Context, r platforms.Resource) error {
	region := r.Data["region"]
	switch r.Kind {
	case kindSnapshot:
		list, err := d.findSnapshots(ctx, region, "tag:"+tagToken, r.ID)
		if err != nil {
			return err
		}
		var errs []error
		for _, s := range list {
			err := d.deleteSnapshot(ctx, region, aws.ToString(s.SnapshotId))
			if !hasCode(err, "InvalidSnapshot.InUse") { // by an image: see below
				errs = append(errs, err)
			}
		}
		return errors.Join(errs...)
	case kindImage:
		i, err := d.named(ctx, region, r.ID)
		if err != nil || i == nil || i.tags[tagReady] != "" || i.tags[tagBuild] == "" {
			return err
		}
		return d.deregister(ctx, *i)
	}
	return fmt.Errorf("aws: no resource is called %q", r.Kind)
}

// Leftovers implements platforms.Collector: it looks in all regions that the
// account can use.
func (d *driver) Leftovers(ctx context.Context, before time.Time) ([]platforms.Resource, error) {
	home, err := d.clients.region(ctx)
	if err != nil {
		return nil, err
	}
	state, err := d.regionStates(ctx, home)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var found []platforms.Resource
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxRegions)
	for region, s := range state {
		if s == notOptedIn {
			continue
		}
		g.Go(func() error {
			list, err := d.leftoversIn(ctx, region, before)
			mu.Lock()
			defer mu.Unlock()
			found = append(found, list...)
			return err
		})
	}
	err = g.Wait()
	slices.SortFunc(found, func(a, b platforms.Resource) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Data["region"], b.Data["region"]), cmp.Compare(a.ID, b.ID))
	})
	return found, err
}

func (d *driver) leftoversIn(ctx context.Context, region string, before time.Time) ([]platforms.Resource, error) {
	images, err := d.findImages(ctx, region, "tag-key", tagBuild)
	if err != nil {
		return nil, err
	}
	var found []platforms.Resource
	used := map[string]bool{}
	for _, i := range images {
		if i.tags[tagReady] == "" && i.created.Before(before) {
			found = append(found, d.record(kindImage, region, i.name))
		}
		for _, s := range i.snapshots {
			used[s] = true
		}
	}
	snapshots, err := d.findSnapshots(ctx, region, "tag-key", tagToken)
	if err != nil {
		return nil, err
	}
	for _, s := range snapshots {
		if !used[aws.ToString(s.SnapshotId)] && aws.ToTime(s.StartTime).Before(before) {
			found = append(found, d.record(kindSnapshot, region, tagsOf(s.Tags)[tagToken]))
		}
	}
	return found, nil
}

// findSnapshots returns the account's own snapshots in a region that a filter
// fits.
func (d *driver) findSnapshots(ctx context.Context, region, filter, value string) ([]types.Snapshot, error) {
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return nil, err
	}
	var list []types.Snapshot
	pages := ec2.NewDescribeSnapshotsPaginator(c, &ec2.DescribeSnapshotsInput{
		OwnerIds: []string{"self"}, Filters: []types.Filter{{Name: aws.String(filter), Values: []string{value}}},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: look for snapshots: %w", region, err)
		}
		list = append(list, page.Snapshots...)
	}
	return list, nil
}
