package ebs

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"golang.org/x/sync/errgroup"
)

// A Reader is what reading a snapshot needs of the service.
type Reader interface {
	ListSnapshotBlocks(context.Context, *ebs.ListSnapshotBlocksInput, ...func(*ebs.Options)) (*ebs.ListSnapshotBlocksOutput, error)
	GetSnapshotBlock(context.Context, *ebs.GetSnapshotBlockInput, ...func(*ebs.Options)) (*ebs.GetSnapshotBlockOutput, error)
}

// A Download is a snapshot on its way into a file.
type Download struct {
	API      Reader
	Snapshot string

	// Progress is told how many bytes of the snapshot's blocks are read. It may
	// be nil.
	Progress func(done, total int64)

	pause time.Duration // before a second try; 0 means half a second
}

// Run writes the disk of the snapshot to a file that reads as zeros, and returns
// its size in bytes. Each block is compared with its digest.
func (d *Download) Run(ctx context.Context, disk io.WriterAt) (size int64, err error) {
	if d.pause == 0 {
		d.pause = 500 * time.Millisecond
	}
	t := &tryer{gate: newGate(MaxInFlight), pause: d.pause, total: totalTime}
	blocks, size, err := d.list(ctx, t)
	if err != nil {
		return 0, fmt.Errorf("snapshot %s: %w", d.Snapshot, err)
	}
	progress := meter{total: int64(len(blocks)) * BlockSize, tell: d.Progress}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(MaxInFlight)
	for _, b := range blocks {
		g.Go(func() error {
			data, err := d.get(ctx, t, b)
			if err != nil {
				return err
			}
			if _, err := disk.WriteAt(data, int64(aws.ToInt32(b.BlockIndex))*BlockSize); err != nil {
				return err
			}
			progress.add(BlockSize)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return 0, fmt.Errorf("snapshot %s: %w", d.Snapshot, err)
	}
	return size, nil
}

// list returns the blocks that the snapshot holds, and the size of its volume.
func (d *Download) list(ctx context.Context, t *tryer) (blocks []types.Block, size int64, err error) {
	in := &ebs.ListSnapshotBlocksInput{SnapshotId: aws.String(d.Snapshot), MaxResults: aws.Int32(10_000)}
	for {
		var out *ebs.ListSnapshotBlocksOutput
		err := t.do(ctx, "list the blocks", func(ctx context.Context) (err error) {
			out, err = d.API.ListSnapshotBlocks(ctx, in)
			return err
		})
		if err != nil {
			return nil, 0, err
		}
		if n := aws.ToInt32(out.BlockSize); n != 0 && n != BlockSize {
			return nil, 0, fmt.Errorf("its blocks have %d bytes, and not %d", n, BlockSize)
		}
		blocks, size = append(blocks, out.Blocks...), aws.ToInt64(out.VolumeSize)<<30
		if in.NextToken = out.NextToken; aws.ToString(in.NextToken) == "" {
			return blocks, size, nil
		}
	}
}

func (d *Download) get(ctx context.Context, t *tryer, b types.Block) (data []byte, err error) {
	what := fmt.Sprintf("read block %d", aws.ToInt32(b.BlockIndex))
	err = t.do(ctx, what, func(ctx context.Context) error {
		out, err := d.API.GetSnapshotBlock(ctx, &ebs.GetSnapshotBlockInput{
			SnapshotId: aws.String(d.Snapshot), BlockIndex: b.BlockIndex, BlockToken: b.BlockToken,
		})
		if err != nil {
			return err
		}
		defer out.BlockData.Close()
		if data, err = io.ReadAll(io.LimitReader(out.BlockData, BlockSize+1)); err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		if want := aws.ToString(out.Checksum); want != "" && want != base64.StdEncoding.EncodeToString(sum[:]) {
			return fmt.Errorf("it came with another digest than the service names")
		}
		return nil
	})
	if err == nil && len(data) != BlockSize {
		return nil, fmt.Errorf("%s: it has %d bytes, and not %d", what, len(data), BlockSize)
	}
	return data, err
}
