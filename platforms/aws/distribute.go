package aws

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"bake.build/bake/platforms"
)

// Other accounts get copies of their own: an image that is shared goes when its owner
// removes it. The image and its snapshots are shared with such an account, a role of it
// is assumed, and AWS copies within each region.

// accounts are those that the image is copied to.
func (j *job) accounts() []string {
	var list []string
	for _, role := range j.o.CopyTo {
		list = append(list, roleARN.FindStringSubmatch(role)[1])
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// elsewhere returns the job in each other account: its image has the same name there,
// and is nobody else's.
func (j *job) elsewhere(ctx context.Context) ([]*job, error) {
	var list []*job
	for _, role := range j.o.CopyTo {
		d, err := j.d.as(role)
		if err != nil {
			return nil, err
		}
		account, err := d.clients.account(ctx)
		if err != nil {
			return nil, fmt.Errorf("copy_to: %s: %w", role, err)
		}
		own, err := j.d.clients.account(ctx)
		if err != nil {
			return nil, err
		}
		if account == own {
			return nil, &platforms.OptionError{Err: fmt.Errorf("copy_to: %s is of the account %s, which has the image itself", role, own)}
		}
		other := *j
		other.d, other.place = d, account+"/"
		other.o.CopyTo, other.o.KMSKeys, other.o.ShareWith, other.o.SnapshotUsers, other.o.Public = nil, nil, nil, nil, false
		list = append(list, &other)
	}
	return list, nil
}

// as returns the driver with a role of another account. What it makes is recorded with
// that role, so that gc finds it.
func (d *driver) as(role string) (*driver, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if other := d.others[role]; other != nil {
		return other, nil
	}
	o := d.options
	o.Role = strings.TrimSpace(o.Role + " " + role)
	other, err := open(o, d.host, d.logins)
	if err != nil {
		return nil, err
	}
	other.pause, other.clients.backoff = d.pause, d.clients.backoff
	d.others[role] = other
	return other, nil
}

// distribute copies the finished images, by region, to the other accounts.
func (j *job) distribute(ctx context.Context, images map[string]image) (found []platforms.Registered, err error) {
	others, err := j.elsewhere(ctx)
	if err != nil {
		return nil, err
	}
	for _, other := range others {
		list, err := other.receive(ctx, images)
		if err != nil {
			return nil, fmt.Errorf("account %s: %w", strings.TrimSuffix(other.place, "/"), err)
		}
		found = append(found, list...)
	}
	return found, nil
}

// receive copies images of another account into the job's, region by region.
func (j *job) receive(ctx context.Context, images map[string]image) ([]platforms.Registered, error) {
	life := j.life()
	own, found, err := life.Receive(ctx, images)
	if err != nil {
		return nil, err
	}
	return found, life.Retain(ctx, own)
}
