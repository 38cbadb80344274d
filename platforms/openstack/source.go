package openstack

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"os"
	"sync"

	"bake.build/bake/internal/qcow2"
	"bake.build/bake/internal/vmdk"
	"bake.build/bake/platforms/image/fetch"
)

// chunk is how much is read and written at once.
const chunk = 1 << 20

// A content is what an image is made of. Its bytes are the same each time that it is opened.
type content struct {
	size int64 // -1 where nobody knows before it is read
	open func(ctx context.Context) (io.ReadCloser, error)
}

// ofDisk is the content of the image of a raw disk, which is put into the image's format
// while it is uploaded, and of one in another format, as it is.
func (j *job) ofDisk(ctx context.Context) (content, error) {
	info, err := os.Stat(j.disk)
	if err != nil {
		return content{}, err
	}
	switch j.o.format() {
	case formatQcow2:
		i, err := qcow2.Plan(ctx, j.disk, info.Size(), j.o.compression(), func(done int64) { j.out.Progress("compress "+j.name, done, info.Size()) })
		if err != nil {
			return content{}, err
		}
		return content{i.Size(), func(ctx context.Context) (io.ReadCloser, error) { return streamed(ctx, i.Write), nil }}, nil
	case formatVMDK:
		id := vmdk.IdentityOf(sha256.Sum256([]byte("openstack disk " + j.identity)))
		write := func(ctx context.Context, w io.Writer) error {
			return vmdk.WriteStream(ctx, w, "disk.vmdk", j.disk, info.Size(), id, func(int64) {})
		}
		return content{-1, func(ctx context.Context) (io.ReadCloser, error) { return streamed(ctx, write), nil }}, nil
	}
	return content{info.Size(), func(context.Context) (io.ReadCloser, error) { return os.Open(j.disk) }}, nil
}

// A stream is what a function writes, while that runs.
type stream struct {
	*io.PipeReader
	stop context.CancelFunc
	done chan struct{}
}

func streamed(ctx context.Context, write func(ctx context.Context, w io.Writer) error) io.ReadCloser {
	r, w := io.Pipe()
	s := &stream{PipeReader: r, done: make(chan struct{})}
	ctx, s.stop = context.WithCancel(ctx)
	go func() {
		defer close(s.done)
		w.CloseWithError(write(ctx, w))
	}()
	return s
}

// Close ends the function.
func (s *stream) Close() error {
	s.stop()
	err := s.PipeReader.Close()
	<-s.done
	return err
}

// A source is what is uploaded. Its hash is computed on the way.
type source struct {
	io.Reader
	content
	meter func(done, total int64)

	from io.ReadCloser
	sent *hasher // of what was read; nil before the beginning

	mu     sync.Mutex
	failed error // of reading, which the client hides behind that of its request
}

// source is what is uploaded: the image from, or else the job's disk.
func (j *job) source(region string, from image) (s *source, err error) {
	s = &source{meter: func(done, total int64) { j.out.Progress(region+": upload "+j.name, done, total) }}
	if from.ID != "" {
		s.content = content{from.SizeBytes, func(ctx context.Context) (io.ReadCloser, error) { return j.d.data(ctx, from) }}
		return s, nil
	}
	s.content, err = j.content()
	return s, err
}

// begin goes to the beginning.
func (s *source) begin(ctx context.Context) (err error) {
	if err := s.close(); err != nil {
		return err
	}
	if s.from, err = s.open(ctx); err != nil {
		return err
	}
	s.sent = newHasher()
	s.Reader = &fetch.Meter{R: io.TeeReader(s.from, s.sent), Total: max(s.size, 0), Tell: s.meter}
	return nil
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && err != io.EOF && !errors.Is(err, errEnded) {
		s.mu.Lock()
		s.failed = err
		s.mu.Unlock()
	}
	return n, err
}

// failure returns why what is uploaded could not be read, or nil.
func (s *source) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

func (s *source) close() error {
	if s.from == nil {
		return nil
	}
	s.sent.Sum() // ends it
	err := s.from.Close()
	s.from = nil
	return err
}

// sum returns the hash of what was sent, "" for an algorithm that is not known.
func (s *source) sum(ctx context.Context, algorithm string) (string, error) {
	if algorithm == "sha512" {
		return hex.EncodeToString(s.sent.Sum()), nil
	}
	h := newHash(algorithm)
	if h == nil {
		return "", nil
	}
	r, err := s.open(ctx)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(h, r)
	return hex.EncodeToString(h.Sum(nil)), errors.Join(err, r.Close())
}

// A hasher computes SHA-512 beside what else is done with the bytes, so that sending does
// not wait for it. An HTTP client may go on reading for a moment when its answer is there:
// what comes after the sum is refused.
type hasher struct {
	in, free chan []byte
	sum      func() []byte

	mu    sync.Mutex
	n     int64
	ended bool
}

// errEnded is the error of who writes to a hasher that has told its sum.
var errEnded = errors.New("the upload has ended")

// hasherBuffers is how many pieces a hasher may be behind.
const hasherBuffers = 16

func newHasher() *hasher {
	h := &hasher{in: make(chan []byte, hasherBuffers), free: make(chan []byte, hasherBuffers)}
	done := make(chan []byte, 1)
	go func() {
		state := sha512.New()
		for b := range h.in {
			state.Write(b)
			select {
			case h.free <- b:
			default:
			}
		}
		done <- state.Sum(nil)
	}()
	h.sum = sync.OnceValue(func() []byte {
		h.mu.Lock()
		h.ended = true
		h.mu.Unlock()
		close(h.in)
		return <-done
	})
	return h
}

// Write implements io.Writer.
func (h *hasher) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return 0, errEnded
	}
	var b []byte
	select {
	case b = <-h.free:
	default:
	}
	h.in <- append(b[:0], p...)
	h.n += int64(len(p))
	return len(p), nil
}

// Len returns how many bytes were written.
func (h *hasher) Len() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n
}

// Sum ends the hasher and returns the hash.
func (h *hasher) Sum() []byte { return h.sum() }

// newHash returns the hash of one of Glance's algorithms, or nil.
func newHash(algorithm string) hash.Hash {
	switch algorithm {
	case "sha512":
		return sha512.New()
	case "sha384":
		return sha512.New384()
	case "sha256":
		return sha256.New()
	}
	return nil
}
