package origin

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"bake.build/bake/internal/regular"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image/fetch"
	"bake.build/bake/platforms/rootfs/archive"
	"bake.build/bake/platforms/rootfs/overlay"
)

// importTar unpacks an archive in tree.
func importTar(ctx context.Context, opts Options, o platforms.Origin, tree string, h platforms.Host, out platforms.Sink) (err error) {
	s, err := opts.file(o)
	if err != nil {
		return err
	}
	path, err := s.Local(ctx, h, out)
	if err != nil {
		return err
	}
	f, err := regular.Open(path)
	if err != nil {
		return fmt.Errorf("tar: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("tar: %w", err)
	}
	sum := fetch.NewHash(s.Digest)
	r := io.TeeReader(&fetch.Meter{R: &fetch.Reader{Ctx: ctx, R: f}, Total: info.Size(), Tell: func(done, total int64) {
		out.Progress("unpack "+s.Name, done, total)
	}}, sum)
	unpackErr := unpack(ctx, tree, r, unpackOptions(archive.WhiteoutKeep))
	// What follows the archive is part of the file: padding, signatures.
	if _, err := io.Copy(io.Discard, r); err != nil {
		return fmt.Errorf("tar %s: %w", s.Name, errors.Join(unpackErr, err))
	}
	if found := hex.EncodeToString(sum.Sum(nil)); s.Digest != "" && found != s.Digest {
		return s.Mismatch(found) // which explains an archive that cannot be read, too
	}
	if unpackErr != nil {
		return fmt.Errorf("tar %s: %w", s.Name, unpackErr)
	}
	return nil
}

// unpack decompresses r and unpacks it in tree.
func unpack(ctx context.Context, tree string, r io.Reader, o archive.Options) (err error) {
	d, err := decompress(ctx, r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := archive.Unpack(ctx, tree, d, o); err != nil {
		return err
	}
	// Only at its end does a compressed stream show that it is whole.
	_, err = io.Copy(io.Discard, d)
	return err
}

// unpackOptions are those of an origin: in a user namespace no device can be
// made.
func unpackOptions(w archive.Whiteouts) archive.Options {
	return archive.Options{Whiteouts: w, NoDevices: overlay.InUserNamespace()}
}
