package aws

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/gofrs/flock"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/aws/ebs"
	"bake.build/bake/platforms/remote"
	"bake.build/bake/platforms/resource"
)

// Files of an artifact in a region, in a directory of its own.
const (
	lockName    = "lock"
	journalName = "upload"      // of the upload that runs, or was broken off
	lastName    = "last.blocks" // the last snapshot, which the next one is made on top of, and its blocks
)

// upload writes the disk into a snapshot, which is complete when it returns.
// The record of the snapshot is to be forgotten once an image has it.
func (j *job) upload(ctx context.Context, disk string, size int64) (snapshot string, record *resource.Record, err error) {
	dir, err := j.dir(ctx)
	if err != nil {
		return "", nil, err
	}
	lock := flock.New(filepath.Join(dir, lockName))
	if _, err := lock.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return "", nil, fmt.Errorf("wait for another upload of %s: %w", j.p.Name, err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	snapshot, record, err = j.uploadIn(ctx, disk, size, dir)
	if errors.Is(err, errParent) {
		// Such as where the account encrypts by default now, and the parent is not.
		j.say("%v: all is sent", err)
		if err := os.Remove(filepath.Join(dir, lastName)); err != nil {
			return "", nil, err
		}
		snapshot, record, err = j.uploadIn(ctx, disk, size, dir)
	}
	return snapshot, record, err
}

// errParent is a refusal of a snapshot on top of another one.
var errParent = errors.New("the last snapshot cannot be the parent of the new one")

// uploadIn is upload, with the directory of the artifact locked.
func (j *job) uploadIn(ctx context.Context, disk string, size int64, dir string) (snapshot string, record *resource.Record, err error) {
	u := &ebs.Upload{
		Size: size, Tags: j.tags(), Description: j.name,
		Encrypted: j.o.Encrypted || len(j.o.KMSKeys) > 0, KMSKey: j.o.KMSKeys[j.home],
		Progress: func(done, total int64) { j.out.Progress("snapshot", done, total) },
	}
	if u.KMSKey != "" {
		e, err := j.encryption(ctx, j.home)
		if err != nil {
			return "", nil, err
		}
		u.KMSKey = e.key // StartSnapshot takes ARNs alone
	}
	if err := j.choose(ctx, u, dir); err != nil {
		return "", nil, err
	}
	if u.Journal, err = j.journal(ctx, u, dir); err != nil {
		return "", nil, err
	}
	defer func() { err = errors.Join(err, u.Journal.Close()) }()
	j.token = u.Journal.Token()
	u.Tags[tagToken] = j.token
	if record, err = j.d.Begin(ctx, kindSnapshot, j.home, u.Journal.Token()); err != nil {
		return "", nil, err
	}
	snapshot, err = j.send(ctx, u, disk, dir)
	if u.Parent != "" && u.Journal.Snapshot() == "" && hasCode(err, "ValidationException") {
		err = errors.Join(fmt.Errorf("%w: %w", errParent, err), u.Journal.Remove(), record.Forget())
		return "", nil, err
	}
	if err == nil {
		err = u.Journal.Remove()
	}
	if err != nil {
		return "", nil, j.brokenOff(ctx, u, err, record)
	}
	return snapshot, record, nil
}

func (j *job) send(ctx context.Context, u *ebs.Upload, disk, dir string) (snapshot string, err error) {
	f, err := os.Open(disk)
	if err != nil {
		return "", err
	}
	defer f.Close()
	client, err := j.d.clients.ebs(ctx, j.home)
	if err != nil {
		return "", err
	}
	u.API, u.Disk = client, f
	res, err := u.Run(ctx)
	if err != nil {
		return "", fmt.Errorf("%s: %w", j.home, err)
	}
	on := ""
	if u.Parent != "" {
		on = " on top of " + u.Parent
	}
	j.say("%s: sent %s of %s into %s%s", j.home, platforms.FormatSize(int64(res.Sent)*ebs.BlockSize), platforms.FormatSize(u.Size), res.Snapshot, on)
	if err := j.d.waitSnapshot(ctx, j.home, res.Snapshot, unseenMost); err != nil {
		return "", err
	}
	return res.Snapshot, res.Map.Save(filepath.Join(dir, lastName), res.Snapshot)
}

// brokenOff does what is to be done with a snapshot that did not get whole. After
// a refusal it is deleted. Otherwise, when the connection or the user broke it
// off, the next build goes on with it; the record of it stays, and gc deletes it
// if there is no next build.
func (j *job) brokenOff(ctx context.Context, u *ebs.Upload, failure error, record *resource.Record) error {
	if ctx.Err() != nil || !ebs.IsFinal(failure) && !errors.Is(failure, remote.ErrFailed) {
		return failure
	}
	if u.Journal.Snapshot() == "" {
		return errors.Join(failure, u.Journal.Remove(), record.Forget())
	}
	tidy, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := j.d.deleteSnapshot(tidy, j.home, u.Journal.Snapshot()); err != nil {
		return errors.Join(failure, err) // it stays in the ledger
	}
	return errors.Join(failure, u.Journal.Remove(), record.Forget())
}

// dir returns the directory in which the artifact's uploads to the account and the
// platform's region are remembered.
func (j *job) dir(ctx context.Context) (string, error) {
	account, err := j.d.clients.account(ctx)
	if err != nil {
		return "", err
	}
	cache, err := j.d.host.CacheDir("aws")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, account, j.home, url.PathEscape(j.d.host.Ledger().Project()+" "+j.p.Name))
	return dir, os.MkdirAll(dir, 0o700)
}

// choose makes the last snapshot of the artifact the parent of the new one, where
// that can be.
func (j *job) choose(ctx context.Context, u *ebs.Upload, dir string) error {
	last, blocks, err := ebs.LoadMap(filepath.Join(dir, lastName))
	if damaged := (*ebs.DamagedError)(nil); errors.As(err, &damaged) {
		j.say("the blocks of the last snapshot are not known: all are sent (%v)", err)
		return nil
	} else if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	s, err := j.d.snapshot(ctx, j.home, last)
	if err != nil {
		return err
	}
	if s == nil || s.State != types.SnapshotStateCompleted || int64(aws.ToInt32(s.VolumeSize))<<30 > roundUp(u.Size) {
		return nil
	}
	// A snapshot is encrypted as its parent, whatever is asked for.
	if e, err := j.encryption(ctx, j.home); err != nil {
		return err
	} else if !e.unknown && !e.is(aws.ToBool(s.Encrypted), aws.ToString(s.KmsKeyId)) {
		j.say("%s: %s is encrypted otherwise than the new snapshot: all is sent", j.home, last)
		return nil
	}
	u.Parent, u.Before = last, blocks
	return nil
}

func roundUp(size int64) int64 { return (size + 1<<30 - 1) >> 30 << 30 }

// journal opens the journal of the upload: that of an earlier one which was
// broken off, if its snapshot can still be filled.
func (j *job) journal(ctx context.Context, u *ebs.Upload, dir string) (*ebs.Journal, error) {
	path := filepath.Join(dir, journalName)
	subject := fmt.Sprintf("%s on %q, encrypted %v %q", j.image, u.Parent, u.Encrypted, u.KMSKey)
	journal, err := ebs.OpenJournal(path, subject)
	if err != nil || journal.Snapshot() == "" {
		return journal, err
	}
	s, err := j.d.snapshot(ctx, j.home, journal.Snapshot())
	switch {
	case err != nil:
		return nil, errors.Join(err, journal.Close())
	case s != nil && s.State == types.SnapshotStatePending:
		j.say("%s: going on with %s, which was broken off", j.home, journal.Snapshot())
		return journal, nil
	case s != nil: // it was given up by EBS, or completed just before a crash
		err = j.d.deleteSnapshot(ctx, j.home, journal.Snapshot())
	}
	if err = errors.Join(err, journal.Remove()); err != nil {
		return nil, err
	}
	return ebs.OpenJournal(path, subject)
}

// snapshot returns what is known of a snapshot, or nil when there is none.
func (d *driver) snapshot(ctx context.Context, region, id string) (*types.Snapshot, error) {
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return nil, err
	}
	out, err := c.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
	if hasCode(err, "InvalidSnapshot.NotFound") || err == nil && len(out.Snapshots) == 0 {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("%s: look for the snapshot %s: %w", region, id, err)
	}
	return &out.Snapshots[0], nil
}

// deleteSnapshot deletes a snapshot. One that is not there is no error.
func (d *driver) deleteSnapshot(ctx context.Context, region, id string) error {
	c, err := d.clients.ec2(ctx, region)
	if err != nil {
		return err
	}
	_, err = c.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: aws.String(id)})
	if err := unless(err, "InvalidSnapshot.NotFound"); err != nil {
		return fmt.Errorf("%s: delete the snapshot %s: %w", region, id, err)
	}
	return nil
}
