package disk

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"bake.build/bake/runtime/disk/grub"
	"bake.build/bake/runtime/disk/tree"
)

const header = "Written by bake when this disk was made."

func exists(t *tree.Tree, paths ...string) bool {
	for _, p := range paths {
		if t.Lookup(p) != nil {
			return true
		}
	}
	return false
}

// checkBootable says what a tree lacks to boot.
func checkBootable(t *tree.Tree, o *Options, args []string) (grub.Kernel, error) {
	k, ok := findKernel(t)
	if !ok {
		return k, noKernel(t, o)
	}
	for _, a := range args {
		if strings.HasPrefix(a, "init=") || strings.HasPrefix(a, "rdinit=") {
			return k, nil
		}
	}
	if !exists(t, "sbin/init", "usr/sbin/init", "etc/init", "bin/init", "usr/bin/init") {
		return k, fmt.Errorf("no /sbin/init for the kernel to start: add systemd-sysv to packages, or give boot = %q", BootNone)
	}
	return k, nil
}

// prepare adds to the tree in memory what the disk needs.
func prepare(t *tree.Tree, o *Options) error {
	words, err := grub.Words(o.KernelArgs)
	if err != nil {
		return err
	}
	sec := o.Epoch.Unix()
	if o.Boot == BootNone {
		return nil
	}
	root := "PARTUUID=" + o.rootID().String()
	k, err := checkBootable(t, o, words)
	if err != nil {
		return err
	}
	if err := o.writeFstab(t, root, sec); err != nil {
		return err
	}
	if err := o.addGrowth(t, sec); err != nil {
		return err
	}
	serial := "ttyS0"
	if o.Arch == "arm64" {
		serial = "ttyAMA0"
	}
	consoles := []string{"console=tty0", "console=" + serial + ",115200"}
	args := append([]string{"ro"}, consoles...)
	if k.Initrd != "" && exists(t, "sbin/mkinitfs", "usr/sbin/mkinitfs") {
		// Alpine's initial file system knows no identifiers of partitions, and loads
		// what it is told to.
		root, args = "UUID="+o.fsID().String(), append(args, "rootfstype=ext4", "modules=sd-mod,ext4")
	}
	config := grub.Config{
		Root: root, Kernel: k, Args: append(args, words...),
		Headers: []string{header, "update-grub may replace this file where GRUB is installed."},
	}
	if err := t.Add("boot/grub/grub.cfg", 0o644, []byte(config.Script()), sec); err != nil {
		return err
	}
	if !exists(t, "usr/sbin/update-grub", "usr/sbin/grub-mkconfig") {
		return nil
	}
	config.Headers = []string{header}
	config.Args = append(consoles, words...)
	return t.Add("etc/default/grub.d/50-bake.cfg", 0o644, []byte(config.Defaults()), sec)
}

func readAll(t *tree.Tree, in *tree.Inode) (b []byte, err error) {
	r, err := t.Content(in)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return io.ReadAll(io.LimitReader(r, 1<<20))
}
