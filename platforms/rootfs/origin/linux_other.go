//go:build !linux

package origin

import (
	"context"
	"errors"

	"bake.build/bake/platforms"
)

var errLinux = errors.New("file trees of machines can be made on Linux only")

func importDebian(context.Context, Options, platforms.Origin, string, platforms.Host, platforms.Logger) error {
	return errLinux
}

func importDisk(context.Context, Options, platforms.Origin, string, platforms.Host, platforms.Logger) error {
	return errLinux
}

func copyTree(context.Context, string, string, platforms.Logger) error { return errLinux }
