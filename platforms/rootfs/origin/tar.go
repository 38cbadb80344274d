package origin

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"bake.build/bake/internal/regular"
	"bake.build/bake/internal/userns"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image/decompress"
	"bake.build/bake/platforms/image/fetch"
	"bake.build/bake/platforms/rootfs/archive"
)

// importTar unpacks an archive in tree.
func importTar(ctx context.Context, opts Options, o platforms.Origin, tree string, h platforms.Host, out platforms.Logger) (err error) {
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
	lost := dropped{}
	defer func() { err = errors.Join(err, lost.tell(out, "tar "+s.Name)) }()
	unpackErr := unpack(ctx, tree, r, info.Size(), unpackOptions(archive.WhiteoutKeep, lost))
	// What follows the archive is part of the file: padding, signatures.
	if _, err := io.Copy(io.Discard, r); err != nil {
		return fmt.Errorf("tar %s: %w", s.Name, errors.Join(unpackErr, err))
	}
	if found := hex.EncodeToString(sum.Sum(nil)); s.Digest != "" && found != s.Digest {
		return s.Mismatch(found) // which explains an archive that cannot be read, too
	}
	if unpackErr == nil {
		unpackErr = checkFilled(tree)
	}
	if unpackErr != nil {
		return fmt.Errorf("tar %s: %w", s.Name, unpackErr)
	}
	return nil
}

// unpack decompresses r, an archive of size bytes, and unpacks it in tree.
func unpack(ctx context.Context, tree string, r io.Reader, size int64, o archive.Options) (err error) {
	d, err := decompress.Reader(ctx, r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	whole := bufio.NewReader(growthOf(d, size))
	if err := checkTar(whole); err != nil {
		return err
	}
	if err := archive.Unpack(ctx, tree, whole, o); err != nil {
		return err
	}
	// Only at its end does a compressed stream show that it is whole.
	_, err = io.Copy(io.Discard, whole)
	return err
}

// unpackOptions are those of an origin: in a user namespace no device can be
// made.
func unpackOptions(w archive.Whiteouts, lost dropped) archive.Options {
	return archive.Options{Whiteouts: w, Whole: true, NoDevices: userns.Inside(), Dropped: lost.add}
}

// dropped counts the files that lost an attribute, by its name.
type dropped map[string]int

func (d dropped) add(name string) { d[name]++ }

// tell says what the layer does not have of what the origin had.
func (d dropped) tell(out platforms.Logger, origin string) error {
	for _, name := range slices.Sorted(maps.Keys(d)) {
		if _, err := fmt.Fprintf(out, "%s: not kept: %s of %d files\n", origin, name, d[name]); err != nil {
			return err
		}
	}
	return nil
}
