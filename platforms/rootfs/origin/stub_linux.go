//go:build linux

package origin

import (
	"context"
	"errors"

	"bake.build/bake/platforms"
)

func pinOCI(context.Context, Options, platforms.Origin) (*platforms.Pin, error) { return nil, errSoon }
func pinFile(context.Context, Options, platforms.Origin, platforms.Host) (*platforms.Pin, error) {
	return nil, errSoon
}
func importOCI(context.Context, Options, platforms.Origin, string, platforms.Host, platforms.Sink) error {
	return errSoon
}
func importTar(context.Context, Options, platforms.Origin, string, platforms.Host, platforms.Sink) error {
	return errSoon
}
func importDisk(context.Context, Options, platforms.Origin, string, platforms.Host, platforms.Sink) error {
	return errSoon
}
func copyTree(context.Context, string, string, platforms.Sink) error { return errSoon }

var errSoon = errors.New("this origin is not written yet")
