package origin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image/decompress"
	"bake.build/bake/platforms/image/fetch"
	"bake.build/bake/platforms/rootfs/archive"
	"bake.build/bake/platforms/wait"
)

// An applier unpacks the layers of an image, one upon the other, while those
// that follow are downloaded.
type applier struct {
	image v1.Image
	tree  string
	blobs blobs
	lost  dropped
}

// parallelBlobs is how many layers are downloaded at once.
const parallelBlobs = 3

func (a applier) apply(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	layers, err := a.image.Layers()
	if err != nil {
		cancel()
		return err
	}
	config, err := a.image.ConfigFile()
	if err == nil && len(config.RootFS.DiffIDs) != len(layers) {
		err = fmt.Errorf("the manifest names %d layers, the configuration %d", len(layers), len(config.RootFS.DiffIDs))
	}
	if err != nil {
		cancel()
		return err
	}
	ready := make([]chan error, len(layers))
	for i := range ready {
		ready[i] = make(chan error, 1)
	}
	var downloads sync.WaitGroup
	defer downloads.Wait()
	defer cancel()
	if !a.blobs.local {
		slots := make(chan struct{}, parallelBlobs)
		downloads.Go(func() {
			for i, l := range layers {
				slots <- struct{}{}
				downloads.Go(func() {
					ready[i] <- a.blobs.fetch(ctx, l)
					<-slots
				})
			}
		})
	}
	for i, l := range layers {
		if !a.blobs.local {
			if err := <-ready[i]; err != nil {
				return err
			}
		}
		if err := a.layer(ctx, l, config.RootFS.DiffIDs[i]); err != nil {
			return err
		}
	}
	return nil
}

// layer unpacks one layer. Both its digests must be right: that of the blob
// and that of the archive in it.
func (a applier) layer(ctx context.Context, l v1.Layer, diffID v1.Hash) (err error) {
	r, size, err := a.blobs.open(l)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	id := diffID.String()
	plain, err := decompress.Reader(ctx, &fetch.Meter{R: &fetch.Reader{Ctx: ctx, R: r}, Total: size, Tell: func(done, total int64) {
		a.blobs.out.Progress("unpack "+short(id), done, total)
	}})
	if err != nil {
		return fmt.Errorf("layer %s: %w", id, err)
	}
	defer func() { err = errors.Join(err, plain.Close()) }()
	sum := sha256.New()
	tee := io.TeeReader(growthOf(plain, size), sum)
	unpackErr := archive.Unpack(ctx, a.tree, tee, unpackOptions(archive.WhiteoutDelete, a.lost))
	if unpackErr != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	if _, err := io.Copy(io.Discard, tee); err != nil {
		return fmt.Errorf("layer %s: %w", id, errors.Join(unpackErr, err))
	}
	if found := "sha256:" + hex.EncodeToString(sum.Sum(nil)); found != id {
		return fmt.Errorf("layer %s: its content has the digest %s", id, found)
	}
	if unpackErr != nil {
		return fmt.Errorf("layer %s: %w", id, unpackErr)
	}
	return nil
}

// short abbreviates a digest for display.
func short(digest string) string { return digest[:min(len(digest), len("sha256:")+12)] }

// Blobs are the compressed layers of images, in a cache by their digest.
type blobs struct {
	dir   string
	out   platforms.Logger
	local bool // of a local image, which is read in place
}

func (b blobs) path(d v1.Hash) string { return filepath.Join(b.dir, d.Algorithm+"-"+d.Hex) }

// open returns the blob of a layer that fetch has fetched.
func (b blobs) open(l v1.Layer) (io.ReadCloser, int64, error) {
	if b.local {
		return localBlob(l)
	}
	d, err := l.Digest()
	if err != nil {
		return nil, 0, err
	}
	f, err := os.Open(b.path(d))
	if err != nil {
		return nil, 0, err
	}
	return sized(f)
}

// sized returns r and, for a file, its size.
func sized(r io.ReadCloser) (io.ReadCloser, int64, error) {
	f, ok := r.(fs.File)
	if !ok {
		return r, 0, nil
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, r.Close())
	}
	return r, info.Size(), nil
}

// localBlob opens the blob of a local image's layer as it lies there, and returns
// its size.
func localBlob(l v1.Layer) (io.ReadCloser, int64, error) {
	media, err := l.MediaType()
	if err != nil {
		return nil, 0, err
	}
	open := l.Compressed
	if media == types.DockerUncompressedLayer {
		open = l.Uncompressed // of a docker archive, which has no others
	}
	r, err := open()
	if err != nil {
		return nil, 0, err
	}
	return sized(r)
}

// fetch downloads the blob of a layer unless the cache has it whole.
func (b blobs) fetch(ctx context.Context, l v1.Layer) error {
	d, err := l.Digest()
	if err != nil {
		return err
	}
	if d.Algorithm != "sha256" {
		return fmt.Errorf("layer %s: digests other than sha256 are not known", d)
	}
	if found, err := fetch.HashFile(ctx, b.path(d), d.Hex); err == nil && found == d.Hex {
		now := time.Now()
		return os.Chtimes(b.path(d), now, now)
	}
	if err := fetch.Prune(b.dir, time.Now().Add(-fetch.KeepUnused)); err != nil {
		return err
	}
	pause := wait.Backoff{Next: time.Second, Double: true}
	for try := 1; ; try++ {
		err := b.download(ctx, l, d)
		if err == nil || ctx.Err() != nil || try == 3 || notFound(err) {
			return err
		}
		if err := pause.Wait(ctx); err != nil {
			return err
		}
	}
}

func (b blobs) download(ctx context.Context, l v1.Layer, d v1.Hash) (err error) {
	size, err := l.Size()
	if err != nil {
		return err
	}
	r, err := l.Compressed()
	if err != nil {
		return fmt.Errorf("layer %s: %w", d, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	f, err := os.CreateTemp(b.dir, fetch.TempPrefix)
	if err != nil {
		return err
	}
	w := &fetch.HashingFile{File: f, Hash: sha256.New()}
	_, err = io.Copy(w, &fetch.Meter{R: &fetch.Reader{Ctx: ctx, R: r}, Total: size, Tell: func(done, total int64) {
		b.out.Progress("download "+short(d.String()), done, total)
	}})
	found := hex.EncodeToString(w.Hash.Sum(nil))
	if err == nil && found != d.Hex {
		err = fmt.Errorf("what came has the digest sha256:%s", found)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), b.path(d))
	}
	if err != nil {
		return fmt.Errorf("layer %s: %w", d, errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
