package desktop

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/sparse"
	"bake.build/bake/platforms"
)

// Files in the directory of a layer, beside its media.
const (
	aboutName = "machine.json" // of the first layer
	nvramName = "nvram"

	// untouchedName marks a first layer that is a user's disk, and not what an installer
	// has made.
	untouchedName = "untouched"
)

// about is what a first layer says of its machine.
type about struct {
	Disks    int              `json:"disks"`
	Hardware hardware.Options `json:"hardware"` // as the origin describes it
}

func (a about) write(dir string) error {
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, aboutName), text, 0o644)
}

func readAbout(dir string) (a about, err error) {
	text, err := os.ReadFile(filepath.Join(dir, aboutName))
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return a, fmt.Errorf("read %s: %w", filepath.Join(dir, aboutName), err)
	}
	if a.Disks < 1 || a.Disks > mostDisks {
		return a, fmt.Errorf("read %s: a machine of %d disks", filepath.Join(dir, aboutName), a.Disks)
	}
	return a, nil
}

// mostDisks is how many disks a machine may have.
const mostDisks = 8

// mediumName is that of disk i's medium in a layer's directory.
func (d *Driver) mediumName(i int) string {
	return fmt.Sprintf("disk%d%s", i, d.hv.Media().Ext())
}

// chainOf returns the media of disk i in the chain's own directories.
func (d *Driver) chainOf(chain []platforms.Layer, i int) (media []string) {
	for _, l := range chain {
		media = append(media, filepath.Join(l.Dir, d.mediumName(i)))
	}
	return media
}

// place puts the media of disk i below names that follow from their order into dir, by
// links where those can be had.
func (d *Driver) place(ctx context.Context, chain []platforms.Layer, i int, dir string) (media []string, err error) {
	for n, src := range d.chainOf(chain, i) {
		dst := filepath.Join(dir, fmt.Sprintf("disk%d-%d%s", i, n, d.hv.Media().Ext()))
		if err := link(ctx, dst, src); err != nil {
			return nil, fmt.Errorf("layer %s: %w", chain[n].Key, err)
		}
		media = append(media, dst)
	}
	return media, nil
}

// link makes dst the same file as src, or a copy where the file system has no links.
func link(ctx context.Context, dst, src string) error {
	if os.Link(src, dst) == nil {
		return nil
	}
	return copyFile(ctx, dst, src)
}

// copyFile copies a file with its holes, sharing its blocks where the file system can.
func copyFile(ctx context.Context, dst, src string) (err error) {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	return sparse.Clone(ctx, out, in)
}

// nvramOf returns the UEFI variables of the chain's machine, or "" for none.
func nvramOf(chain []platforms.Layer) string {
	path := filepath.Join(chain[len(chain)-1].Dir, nvramName)
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// traits are what the layers of a machine are.
func traits(h hardware.Options) platforms.Traits {
	if h.UEFI() {
		return platforms.Traits{Arch: "amd64", Boot: "uefi"}
	}
	return platforms.Traits{Arch: "amd64", Boot: "bios"}
}

// newRef returns a reference that no other layer has.
func newRef() string { return rand.Text() }

// removeDir removes a directory and reports whether it was there.
func removeDir(dir string) (bool, error) {
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return true, os.RemoveAll(dir)
}
