package origin

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/rootfs/archive"
)

// epochName is the name of a file beside the tree: the second since 1970 that
// stands for the time of the build in all layers on this one.
const epochName = "epoch"

// settleTimes takes from the tree in dir when it was made, and notes the time that
// the layers on it are dated with: that of the pin, since a package archive has
// nothing newer, and otherwise that of the newest file. So nothing that a step makes
// seems older than what it was made from.
func settleTimes(dir string, since time.Time, pin *platforms.Pin) error {
	epoch := platforms.FileTime
	if pin != nil {
		if t, err := time.Parse(time.RFC3339, pin.Date); err == nil {
			epoch = t
		}
	}
	newest, err := archive.ClampTimes(filepath.Join(dir, "fs"), since, epoch)
	if err != nil {
		return fmt.Errorf("set times: %w", err)
	}
	// A file of the future would have all that is made here seem to be of the future.
	if epoch.Equal(platforms.FileTime) && newest.After(epoch) && newest.Before(time.Now()) {
		epoch = newest
	}
	err = os.WriteFile(filepath.Join(dir, epochName), []byte(strconv.FormatInt(epoch.Unix(), 10)+"\n"), 0o600)
	for _, name := range []string{epochName, platforms.ImageConfigName, "."} {
		if err == nil {
			err = os.Chtimes(filepath.Join(dir, name), platforms.FileTime, platforms.FileTime)
		}
		if name == platforms.ImageConfigName && errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	}
	return err
}

// Epoch returns the time that layers are dated with which stand on the first layer
// in dir.
func Epoch(dir string) (time.Time, error) {
	b, err := os.ReadFile(filepath.Join(dir, epochName))
	if errors.Is(err, os.ErrNotExist) {
		return platforms.FileTime, nil
	}
	var sec int64
	if err == nil {
		sec, err = strconv.ParseInt(strings.TrimSuffix(string(b), "\n"), 10, 64)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read the time of the layer: %w", err)
	}
	return time.Unix(sec, 0), nil
}
