package grub

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"bake.build/bake/internal/tool"
)

// A Target is a firmware that a core image is made for.
type Target struct {
	Format  string // of grub-mkimage
	Package string // Debian's package that holds its modules
	EFI     string // path on the EFI system partition; "" for BIOS
	modules string
}

// common are the modules that every core image has: what our configuration
// needs, and what one written by update-grub on the running machine asks for.
const common = "part_gpt part_msdos ext2 fat normal linux configfile echo test true regexp search search_fs_file " +
	"search_fs_uuid search_label serial terminal terminfo gzio loadenv minicmd ls cat halt reboot sleep probe all_video gfxterm font"

// The targets.
var (
	BIOS     = Target{"i386-pc", "grub-pc-bin", "", common + " biosdisk chain"}
	EFIAMD64 = Target{"x86_64-efi", "grub-efi-amd64-bin", "EFI/BOOT/BOOTX64.EFI", common + " chain efifwsetup"}
	EFIARM64 = Target{"arm64-efi", "grub-efi-arm64-bin", "EFI/BOOT/BOOTAA64.EFI", common + " chain efifwsetup"}
)

// embedded is run by the core image before it reads the configuration. At that
// point root is the disk that the firmware loaded it from, with or without a
// partition. Only plain commands are known so early.
const embedded = `regexp --set=1:bootdisk '^([^,]*)' $root
set root=$bootdisk,gpt1
set prefix=($root)/boot/grub
`

// modulesRoot is where distributions keep GRUB's modules.
const modulesRoot = "/usr/lib/grub"

func (t Target) dir() string { return filepath.Join(modulesRoot, t.Format) }

// Installed reports whether the host has the target's modules and
// grub-mkimage.
func (t Target) Installed() bool {
	_, err := os.Stat(filepath.Join(t.dir(), "moddep.lst"))
	_, err2 := exec.LookPath("grub-mkimage")
	return err == nil && err2 == nil
}

// Core returns the core image for t. When cacheDir is not "", the image is kept
// there under a name that follows from all that it is made of.
func Core(ctx context.Context, t Target, cacheDir string) ([]byte, error) {
	name, err := t.cacheName()
	if err != nil {
		return nil, fmt.Errorf("make GRUB image: %w", err)
	}
	if cacheDir == "" {
		return t.mkimage(ctx)
	}
	cached := filepath.Join(cacheDir, name)
	if b, err := os.ReadFile(cached); err == nil && len(b) > 0 {
		return b, nil
	}
	b, err := t.mkimage(ctx)
	if err != nil {
		return nil, err
	}
	if err := keep(cached, b); err != nil {
		return nil, fmt.Errorf("keep GRUB image: %w", err)
	}
	return b, nil
}

func (t Target) cacheName() (string, error) {
	h := sha256.New()
	for _, file := range []string{"modinfo.sh", "moddep.lst", "kernel.img", "normal.mod"} {
		b, err := os.ReadFile(filepath.Join(t.dir(), file))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n", file, len(b))
		h.Write(b)
	}
	fmt.Fprintf(h, "%q %q %q", t.Format, t.modules, embedded)
	return fmt.Sprintf("grub-%s-%s", t.Format, hex.EncodeToString(h.Sum(nil)[:16])), nil
}

func (t Target) mkimage(ctx context.Context) (image []byte, err error) {
	dir, err := os.MkdirTemp("", "bake-grub-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	config, out := filepath.Join(dir, "embedded.cfg"), filepath.Join(dir, "core")
	if err := os.WriteFile(config, []byte(embedded), 0o600); err != nil {
		return nil, err
	}
	args := []string{"-O", t.Format, "-d", t.dir(), "-p", "/boot/grub", "-c", config, "-o", out}
	cmd := exec.CommandContext(ctx, "grub-mkimage", append(args, strings.Fields(t.modules)...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := tool.Run(cmd); err != nil {
		return nil, fmt.Errorf("grub-mkimage: %w: %s", errors.Join(err, ctx.Err()), strings.TrimSpace(stderr.String()))
	}
	return os.ReadFile(out)
}

// keep writes a file that other processes may be writing too.
func keep(path string, b []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

// BootImage returns the code for the first sector of a disk.
func BootImage() ([]byte, error) {
	return os.ReadFile(filepath.Join(BIOS.dir(), "boot.img"))
}
