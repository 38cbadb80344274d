package ebs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"golang.org/x/sync/errgroup"

	"bake.build/bake/internal/sparse"
)

// An API is what an upload needs of the service. The client must not repeat
// requests itself: two layers of repetition hide throttling from the one that
// could heed it.
type API interface {
	StartSnapshot(context.Context, *ebs.StartSnapshotInput, ...func(*ebs.Options)) (*ebs.StartSnapshotOutput, error)
	PutSnapshotBlock(context.Context, *ebs.PutSnapshotBlockInput, ...func(*ebs.Options)) (*ebs.PutSnapshotBlockOutput, error)
	CompleteSnapshot(context.Context, *ebs.CompleteSnapshotInput, ...func(*ebs.Options)) (*ebs.CompleteSnapshotOutput, error)
}

// MaxInFlight is how many requests the service takes at once from one account
// without asking for less.
const MaxInFlight = 64

// An Upload is one disk on its way into a snapshot.
type Upload struct {
	API  API
	Disk *os.File // whose holes are not read; reading it moves its offset
	Size int64    // of the disk, in bytes

	// Parent is the snapshot whose blocks Before tells; "" for none.
	Parent string
	Before Map

	Description string
	Tags        map[string]string
	KMSKey      string // "" means not encrypted, or as the account's default says
	Encrypted   bool

	Journal *Journal

	// Progress is told how many bytes of the disk are done. It may be nil.
	Progress func(done, total int64)

	pause time.Duration // before a second try; 0 means half a second
}

// A Result is a snapshot that is complete in EBS's sense: all of its blocks are
// there, and it may still be pending.
type Result struct {
	Snapshot string
	Map      Map
	Sent     int // blocks that were sent by this call
}

// Run sends the disk. When it fails the journal stays, so that another Run with
// it goes on from there.
func (u *Upload) Run(ctx context.Context) (*Result, error) {
	if u.pause == 0 {
		u.pause = 500 * time.Millisecond
	}
	t := &tryer{gate: newGate(MaxInFlight), pause: u.pause, total: totalTime}
	if err := u.start(ctx, t); err != nil {
		return nil, err
	}
	res := &Result{Snapshot: u.Journal.Snapshot()}
	var err error
	if res.Map, res.Sent, err = u.send(ctx, t, res.Snapshot); err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", res.Snapshot, err)
	}
	if err := u.complete(ctx, t, res.Snapshot); err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", res.Snapshot, err)
	}
	return res, nil
}

// start begins a snapshot, unless an earlier Run has. A request with a token that
// the service knows begins nothing.
func (u *Upload) start(ctx context.Context, t *tryer) error {
	if u.Journal.Snapshot() != "" {
		return nil
	}
	in := &ebs.StartSnapshotInput{
		VolumeSize:  aws.Int64(gibibytes(u.Size)),
		ClientToken: aws.String(u.Journal.Token()),
		Description: aws.String(u.Description),
		Timeout:     aws.Int32(60), // minutes without a block after which it is given up
	}
	if u.Parent != "" {
		in.ParentSnapshotId = aws.String(u.Parent)
	} else if u.KMSKey != "" || u.Encrypted {
		in.Encrypted = aws.Bool(true)
		if u.KMSKey != "" {
			in.KmsKeyArn = aws.String(u.KMSKey)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(u.Tags)) {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String(k), Value: aws.String(u.Tags[k])})
	}
	var out *ebs.StartSnapshotOutput
	err := t.do(ctx, "start a snapshot", func(ctx context.Context) (err error) {
		out, err = u.API.StartSnapshot(ctx, in)
		return err
	})
	if err != nil {
		return err
	}
	return u.Journal.begin(aws.ToString(out.SnapshotId))
}

// gibibytes rounds up to what volumes are measured in.
func gibibytes(size int64) int64 { return max(1, (size+1<<30-1)>>30) }

// send sends the blocks that the snapshot does not have.
func (u *Upload) send(ctx context.Context, t *tryer, snapshot string) (Map, int, error) {
	total := int((u.Size + BlockSize - 1) / BlockSize)
	m := make(Map, total)
	var sent atomic.Int64
	var bufs = sync.Pool{New: func() any { b := make([]byte, BlockSize); return &b }}
	g, sending := errgroup.WithContext(ctx)
	g.SetLimit(MaxInFlight)
	progress := meter{total: u.Size, tell: u.Progress}
	// Blocks are read and hashed one after the other: that is faster than any
	// network, and keeps no more of them in memory than are on their way.
	holes := &holes{disk: u.Disk, size: u.Size}
	for i := range total {
		if sending.Err() != nil {
			break
		}
		hole, err := holes.at(i)
		if err != nil {
			return nil, 0, errors.Join(fmt.Errorf("read the disk: %w", err), g.Wait())
		}
		if hole && u.Before.at(i) == zeroSum && !u.Journal.knows(i) {
			m[i] = zeroSum
			progress.add(BlockSize)
			continue
		}
		buf := bufs.Get().(*[]byte)
		if err := readBlock(u.Disk, i, *buf); err != nil {
			return nil, 0, errors.Join(fmt.Errorf("read the disk: %w", err), g.Wait())
		}
		if isZero(*buf) {
			m[i] = zeroSum
		} else {
			m[i] = sha256.Sum256(*buf)
		}
		if m[i] == u.Before.at(i) || u.Journal.has(i, m[i]) {
			bufs.Put(buf)
			progress.add(BlockSize)
			continue
		}
		g.Go(func() error {
			defer bufs.Put(buf)
			if err := u.put(sending, t, snapshot, i, m[i], *buf); err != nil {
				return err
			}
			sent.Add(1)
			progress.add(BlockSize)
			return u.Journal.sent(i, m[i])
		})
	}
	if err := g.Wait(); err != nil {
		return nil, 0, err
	}
	if ctx.Err() != nil { // perhaps before all blocks were on their way
		return nil, 0, context.Cause(ctx)
	}
	return m, int(sent.Load()), nil
}

// holes tells where a disk has no data, for blocks in rising order.
type holes struct {
	disk       *os.File
	size       int64
	start, end int64 // of the next range of data
}

// at reports whether block i lies in a hole.
func (h *holes) at(i int) (bool, error) {
	from, to := int64(i)*BlockSize, min(int64(i+1)*BlockSize, h.size)
	for h.end <= from {
		var err error
		if h.start, h.end, err = sparse.NextData(h.disk, from, h.size); errors.Is(err, io.EOF) {
			h.start, h.end = h.size, h.size+1
		} else if err != nil {
			return false, err
		}
	}
	return h.start >= to, nil
}

// A meter tells how far something is, one call after the other.
type meter struct {
	total int64
	tell  func(done, total int64) // may be nil

	mu   sync.Mutex
	done int64
}

func (m *meter) add(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done = min(m.done+n, m.total)
	if m.tell != nil {
		m.tell(m.done, m.total)
	}
}

var zeros [BlockSize]byte

func isZero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }

func (u *Upload) put(ctx context.Context, t *tryer, snapshot string, i int, sum Sum, data []byte) error {
	return t.do(ctx, fmt.Sprintf("send block %d", i), func(ctx context.Context) error {
		// A new snapshot is not known everywhere at once, and is "not found"
		// meanwhile: that is one of the errors to try again on.
		_, err := u.API.PutSnapshotBlock(ctx, &ebs.PutSnapshotBlockInput{
			SnapshotId:        aws.String(snapshot),
			BlockIndex:        aws.Int32(int32(i)),
			BlockData:         bytes.NewReader(data),
			DataLength:        aws.Int32(BlockSize),
			Checksum:          aws.String(base64.StdEncoding.EncodeToString(sum[:])),
			ChecksumAlgorithm: types.ChecksumAlgorithmChecksumAlgorithmSha256,
		})
		return err
	})
}

// complete seals the snapshot with the digest of the digests of what was sent.
func (u *Upload) complete(ctx context.Context, t *tryer, snapshot string) error {
	blocks := u.Journal.blocks()
	all := sha256.New()
	for _, i := range slices.Sorted(maps.Keys(blocks)) {
		sum := blocks[i]
		all.Write(sum[:])
	}
	in := &ebs.CompleteSnapshotInput{SnapshotId: aws.String(snapshot), ChangedBlocksCount: aws.Int32(int32(len(blocks)))}
	if len(blocks) > 0 {
		in.Checksum = aws.String(base64.StdEncoding.EncodeToString(all.Sum(nil)))
		in.ChecksumAlgorithm = types.ChecksumAlgorithmChecksumAlgorithmSha256
		in.ChecksumAggregationMethod = types.ChecksumAggregationMethodChecksumAggregationLinear
	}
	return t.do(ctx, "complete the snapshot", func(ctx context.Context) error {
		out, err := u.API.CompleteSnapshot(ctx, in)
		if err == nil && out.Status == types.StatusError {
			err = errors.New("EBS reports an error of the snapshot")
		}
		return err
	})
}
