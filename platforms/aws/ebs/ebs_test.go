package ebs

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"

	"bake.build/bake/platforms/aws/awstest"
)

// client returns the SDK's client of a server, which repeats nothing itself.
func client(s *awstest.Cloud) *ebs.Client {
	return ebs.New(ebs.Options{
		Region: "eu-west-1", BaseEndpoint: aws.String(s.URL), Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "key", SecretAccessKey: "secret"}, nil
		}),
	})
}

func newServer(t *testing.T) *awstest.Cloud {
	s := awstest.New()
	t.Cleanup(s.Close)
	return s
}

// noise returns a disk with data in the blocks given, and zeros elsewhere.
func noise(blocks int, data ...int) []byte {
	b := make([]byte, blocks*BlockSize)
	r := rand.NewChaCha8([32]byte{1})
	for _, i := range data {
		_, _ = r.Read(b[i*BlockSize : (i+1)*BlockSize]) // never fails
	}
	return b
}

// file returns a file of a disk, with holes for its blocks of zeros.
func file(t *testing.T, disk []byte) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	for at := 0; at < len(disk); at += BlockSize {
		if b := disk[at:min(at+BlockSize, len(disk))]; !isZero(b) {
			if _, err := f.WriteAt(b, int64(at)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := f.Truncate(int64(len(disk))); err != nil {
		t.Fatal(err)
	}
	return f
}

func upload(t *testing.T, s *awstest.Cloud, disk []byte, change ...func(*Upload)) (*Result, error) {
	t.Helper()
	u := &Upload{API: client(s), Disk: file(t, disk), Size: int64(len(disk)), pause: time.Millisecond}
	for _, f := range change {
		f(u)
	}
	if u.Journal == nil {
		var err error
		if u.Journal, err = OpenJournal(filepath.Join(t.TempDir(), "journal"), "a disk"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { u.Journal.Close() })
	}
	return u.Run(t.Context())
}

// same compares a snapshot with a disk.
func same(t *testing.T, s *awstest.Cloud, id string, disk []byte) {
	t.Helper()
	if !s.Completed(id) {
		t.Errorf("%s is not complete", id)
	}
	for i := range len(disk) / BlockSize {
		if !bytes.Equal(s.Content(id, i), disk[i*BlockSize:(i+1)*BlockSize]) {
			t.Errorf("block %d differs", i)
		}
	}
}

func TestUpload(t *testing.T) {
	s := newServer(t)
	disk := noise(200, 0, 3, 4, 150, 199)
	var last int64
	res, err := upload(t, s, disk, func(u *Upload) { u.Progress = func(done, _ int64) { last = max(last, done) } })
	if err != nil {
		t.Fatal(err)
	}
	same(t, s, res.Snapshot, disk)
	if got := s.Count("PutSnapshotBlock"); got != 5 || res.Sent != 5 {
		t.Errorf("%d blocks were sent, %d by its own count; 5 are not zeros", got, res.Sent)
	}
	if last != int64(len(disk)) {
		t.Errorf("the progress ends at %d of %d", last, len(disk))
	}
}

// TestDelta sends a changed disk on its parent, one block of which became zeros.
func TestDelta(t *testing.T) {
	s := newServer(t)
	disk := noise(100, 0, 1, 2, 3, 50)
	first, err := upload(t, s, disk)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "map")
	if err := first.Map.Save(path, first.Snapshot); err != nil {
		t.Fatal(err)
	}
	of, before, err := LoadMap(path)
	if err != nil || of != first.Snapshot {
		t.Fatalf("the map of %q: %v", of, err)
	}
	disk[50*BlockSize] ^= 1
	clear(disk[2*BlockSize : 3*BlockSize])
	disk = append(disk, noise(1, 0)...) // it grew
	second, err := upload(t, s, disk, func(u *Upload) { u.Parent, u.Before = first.Snapshot, before })
	if err != nil {
		t.Fatal(err)
	}
	same(t, s, second.Snapshot, disk)
	if second.Sent != 3 {
		t.Errorf("%d blocks were sent; 3 have changed", second.Sent)
	}
	if _, _, err := LoadMap(filepath.Join("testdata", "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a map that is missing: %v", err)
	}
}

// TestBroken breaks every tenth request for a block, in turns in each way.
func TestBroken(t *testing.T) {
	s := newServer(t)
	var n atomic.Int64
	s.SetFault(func(c awstest.Call) *awstest.Fault {
		if i := n.Add(1); i%10 == 0 {
			return []*awstest.Fault{
				{Drop: true}, {Status: 500, Code: "InternalServerException"}, {Status: 503, Code: "ServiceUnavailable"},
				{Status: 400, Code: "ThrottlingException"}, {Status: 404, Code: "ResourceNotFoundException"},
			}[i/10%5]
		}
		return nil
	})
	var all []int
	for i := range 50 {
		all = append(all, i)
	}
	disk := noise(50, all...)
	res, err := upload(t, s, disk)
	if err != nil {
		t.Fatal(err)
	}
	same(t, s, res.Snapshot, disk)
}

// TestResume stops an upload half-way and goes on with it.
func TestResume(t *testing.T) {
	s := newServer(t)
	var all []int
	for i := range 60 {
		all = append(all, i)
	}
	disk := noise(60, all...)
	ctx, stop := context.WithCancel(t.Context())
	s.SetFault(func(c awstest.Call) *awstest.Fault {
		if c.Op == "PutSnapshotBlock" && c.N == 40 {
			stop()
		}
		return nil
	})
	path := filepath.Join(t.TempDir(), "journal")
	run := func(ctx context.Context) (*Result, error) {
		j, err := OpenJournal(path, "a disk")
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		u := &Upload{API: client(s), Disk: file(t, disk), Size: int64(len(disk)), Journal: j, pause: time.Millisecond}
		return u.Run(ctx)
	}
	if _, err := run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	// A crash may leave a part of an entry.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("part of one"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	res, err := run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	same(t, s, res.Snapshot, disk)
	if res.Sent == 0 || res.Sent > 59 {
		t.Errorf("%d blocks were sent again", res.Sent)
	}
	if got := s.Count("StartSnapshot"); got != 1 {
		t.Errorf("%d snapshots were begun", got)
	}
}

func TestRefused(t *testing.T) {
	s := newServer(t)
	s.SetFault(func(c awstest.Call) *awstest.Fault {
		if c.Op == "PutSnapshotBlock" {
			return &awstest.Fault{Status: 403, Code: "AccessDeniedException", Message: "not allowed to ebs:PutSnapshotBlock"}
		}
		return nil
	})
	_, err := upload(t, s, noise(3, 1))
	if err == nil || !strings.Contains(err.Error(), "not allowed to ebs:PutSnapshotBlock") || !strings.Contains(err.Error(), "block 1") {
		t.Errorf("got %v", err)
	}
	if got := s.Count("PutSnapshotBlock"); got != 1 {
		t.Errorf("a request that is refused was sent %d times", got)
	}
}

// TestThrottled asks for less: fewer requests are in flight, and all arrive.
func TestThrottled(t *testing.T) {
	g := newGate(64)
	for range 10 {
		if err := g.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		g.leave(true)
	}
	if g.limit > 3 {
		t.Errorf("after ten refusals %v requests may be in flight", g.limit)
	}
	for range 3000 {
		if err := g.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		g.leave(false)
	}
	if g.limit < 60 {
		t.Errorf("after many successes %v requests may be in flight", g.limit)
	}
}

func TestDownload(t *testing.T) {
	s := newServer(t)
	disk := noise(302, 0, 7, 300, 301)
	res, err := upload(t, s, disk)
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int64
	s.SetFault(func(c awstest.Call) *awstest.Fault {
		if n.Add(1)%3 == 0 {
			return &awstest.Fault{Status: 500, Code: "InternalServerException"}
		}
		return nil
	})
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := (&Download{API: client(s), Snapshot: res.Snapshot, pause: time.Millisecond}).Run(t.Context(), f)
	if err != nil || size != 1<<30 {
		t.Fatalf("%d bytes, %v", size, err)
	}
	got, err := os.ReadFile(f.Name())
	if err != nil || !bytes.Equal(got, disk) {
		t.Errorf("the disk differs: %d bytes, %v", len(got), err)
	}
}
