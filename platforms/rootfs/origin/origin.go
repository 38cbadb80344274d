package origin

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"sync"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image"
	"bake.build/bake/platforms/rootfs/archive"
)

// Pin makes o immutable, as platforms.Driver documents it. It is safe for
// concurrent use.
func Pin(ctx context.Context, o platforms.Origin, h platforms.Host) (platforms.Origin, error) {
	var opts Options
	if err := o.Decode(&opts); err != nil {
		return o, fmt.Errorf("%s: options: %w", o.Kind, err)
	}
	if err := opts.check(o.Kind, o.Paths); err != nil {
		return o, &platforms.OptionError{Err: err}
	}
	var pin *platforms.Pin
	var err error
	switch o.Kind {
	case debian.name, ubuntu.name:
		pin, err = pinDebian(ctx, opts, o, h)
	case "oci":
		pin, err = pinOCI(ctx, opts, o, h)
	case "tar", "disk":
		var f image.File
		if f, err = opts.file(o); err == nil {
			pin, err = f.Pin(ctx, o, h)
		}
	case "scratch", "layer":
	default:
		err = fmt.Errorf("origin %q: not one of this platform", o.Kind)
	}
	if err != nil {
		return o, err
	}
	o.Pin = pin
	return o, nil
}

// Import fills the directory <dir>/fs, which it makes, with the file tree that
// o names. On an error the content of dir is worth nothing. The origin layer
// is read on the calling goroutine's thread only.
func Import(ctx context.Context, o platforms.Origin, dir string, h platforms.Host, out platforms.Logger) error {
	var opts Options
	if err := o.Decode(&opts); err != nil {
		return fmt.Errorf("%s: options: %w", o.Kind, err)
	}
	if err := opts.check(o.Kind, o.Paths); err != nil {
		return err
	}
	fs := filepath.Join(dir, "fs")
	if err := archive.NewDir(fs, 0o755); err != nil {
		return err
	}
	start, err := archive.ChangeTime(fs)
	if err != nil {
		return err
	}
	if err := opts.fill(ctx, o, fs, h, &logger{to: out}); err != nil {
		return err
	}
	return settleTimes(dir, start, o.Pin)
}

// fill fills the empty directory fs.
func (opts Options) fill(ctx context.Context, o platforms.Origin, fs string, h platforms.Host, out platforms.Logger) error {
	switch o.Kind {
	case debian.name, ubuntu.name:
		return importDebian(ctx, opts, o, fs, h, out)
	case "oci":
		return importOCI(ctx, opts, o, fs, h, out)
	case "tar":
		return importTar(ctx, opts, o, fs, h, out)
	case "disk":
		return importDisk(ctx, opts, o, fs, h, out)
	case "layer":
		return copyTree(ctx, o.Paths["layer"], fs, out)
	case "scratch":
		return nil
	}
	return fmt.Errorf("origin %q: not one of this platform", o.Kind)
}

// Arch returns the architecture of the programs in a tree that begins with o, as Go
// names it, or "" where o is a copy of something that nobody has looked at.
func Arch(o platforms.Origin) (string, error) {
	var opts Options
	if err := o.Decode(&opts); err != nil {
		return "", fmt.Errorf("%s: options: %w", o.Kind, err)
	}
	switch o.Kind {
	case debian.name, ubuntu.name, "oci":
		return ociPlatform(cmp.Or(opts.Arch, hostArch())).Architecture, nil
	}
	return "", nil
}

// file returns the file that a tar or disk origin names.
func (o Options) file(origin platforms.Origin) (image.File, error) {
	location := o.Tar
	if origin.Kind == "disk" {
		location = o.Disk
	}
	return image.FileOf(origin, location, o.digests())
}

// check finds options that mean nothing for the kind of origin.
func (o Options) check(kind string, paths map[string]string) error {
	debian, file := kind == debian.name || kind == ubuntu.name, kind == "tar" || kind == "disk"
	for _, c := range []struct {
		name  string
		given bool
		fits  bool
	}{
		{"packages", len(o.Packages) > 0, debian},
		{"variant", o.Variant != "", debian},
		{"components", len(o.Components) > 0, debian},
		{"mirror", o.Mirror != "", debian},
		{"security_mirror", o.SecurityMirror != "", debian},
		{"snapshot", o.Snapshot != "", debian},
		{"keyring", o.Keyring != "", debian},
		{"docs", o.Docs, debian},
		{"initramfs", o.Initramfs != "", debian},
		{"arch", o.Arch != "", debian || kind == "oci"},
		{"sha256", o.SHA256 != "", file},
		{"sha512", o.SHA512 != "", file},
		{"checksums", o.Checksums != "" || paths["checksums"] != "", file},
	} {
		if c.given && !c.fits {
			return fmt.Errorf("origin %s: the option %s means nothing here", kind, c.name)
		}
	}
	return o.digests().Check(paths["checksums"])
}

func (o Options) digests() image.Digests {
	return image.Digests{SHA256: o.SHA256, SHA512: o.SHA512, Checksums: o.Checksums}
}

// A logger lets several goroutines tell one Logger.
type logger struct {
	mu sync.Mutex
	to platforms.Logger
}

func (s *logger) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.to.Write(p)
}

func (s *logger) Progress(what string, done, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to.Progress(what, done, total)
}
