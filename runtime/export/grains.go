package export

import (
	"context"
	"io"
	"sync"

	"bake.build/bake/internal/vmdk"
)

// A sharedStreams compresses the disk once for all formats of a job that hold it as a
// stream-optimized VMDK. Each of them calls write once; the last one to come does the
// work, and the others wait for it.
type sharedStreams struct {
	users int // formats that will come; 0 stands for 1

	mu      sync.Mutex
	streams []vmdk.Stream
	done    chan struct{}
	err     error // set before done is closed
}

func newSharedStreams(list []Format) *sharedStreams {
	s := &sharedStreams{done: make(chan struct{})}
	for _, f := range list {
		if f.Streams {
			s.users++
		}
	}
	return s
}

func (s *sharedStreams) write(ctx context.Context, j *Job, stream vmdk.Stream, format string) error {
	s.mu.Lock()
	s.streams = append(s.streams, stream)
	last := len(s.streams) >= s.users
	s.mu.Unlock()
	if !last {
		select {
		case <-s.done:
			return s.err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	defer close(s.done)
	s.err = vmdk.WriteStreams(ctx, s.streams, j.disk, j.diskSize, func(done int64) { j.Progress(format, done, j.diskSize) })
	return s.err
}

// streamOptimized writes the disk to w as a stream-optimized VMDK of a format, which is
// called file.
func (j *Job) streamOptimized(ctx context.Context, w io.Writer, format, file string) error {
	return j.streams.write(ctx, j, vmdk.Stream{Out: w, Name: file, ID: vmdk.IdentityOf(j.Derive(format))}, format)
}
