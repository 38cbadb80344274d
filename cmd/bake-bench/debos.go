package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// debos is the image builder of that name, run on the host itself.
type debos struct{ b *bench }

func (d *debos) check() error {
	if os.Geteuid() != 0 {
		return errors.New("needs root: debos makes file systems and mounts them")
	}
	return lookTools("debos", "debootstrap", "systemd-nspawn", "parted", "extlinux", "qemu-img", "unshare")
}

func (d *debos) build(ctx context.Context, dir string) (u usage, err error) {
	if err := stageJob(dir); err != nil {
		return usage{}, err
	}
	if err := setMirror(ctx, filepath.Join(dir, "debos.yaml")); err != nil {
		return usage{}, err
	}
	args, env, undo, err := d.host(dir)
	if err != nil {
		return usage{}, err
	}
	defer func() { err = errors.Join(err, undo()) }()
	d.b.logf("debos builds the golden image: about a minute")
	c := &child{
		args: append(args, "debos", "--disable-fakemachine", "debos.yaml"),
		dir:  dir,
		env:  env,
		log:  dir + ".log",
	}
	u, err = c.run(ctx)
	if err != nil {
		return usage{}, err
	}
	if _, err := os.Stat(filepath.Join(dir, "golden.qcow2")); err != nil {
		return usage{}, fmt.Errorf("debos made no image: %w", err)
	}
	return u, nil
}

// ownRun gives the command that follows a /run of its own.
func ownRun() []string {
	return []string{
		"unshare", "--mount", "--propagation", "private",
		"sh", "-c", `mount -t tmpfs -o mode=755 tmpfs /run && exec "$@"`, "sh",
	}
}

// host makes up for what debos expects of a host and containers lack: a tmpfs
// on /run, the directory /dev/disk, and a udev daemon. It returns the command
// to put in front of debos, its environment, and what to call afterwards.
func (d *debos) host(dir string) (args, env []string, undo func() error, err error) {
	undo = func() error { return nil }
	all, err := mounts()
	if err != nil {
		return nil, nil, nil, err
	}
	if !tmpfsOn(all, "/run") {
		d.b.note("debos ran with a /run of its own: systemd-nspawn wants a tmpfs there")
		args = ownRun()
	}
	if _, err := os.Stat("/run/udev/control"); errors.Is(err, fs.ErrNotExist) {
		d.b.note("debos ran without waiting for udev: no daemon of it runs here")
		if env, err = withoutUdev(filepath.Join(dir, "bin")); err != nil {
			return nil, nil, nil, err
		}
	}
	if err := os.Mkdir("/dev/disk", 0o755); err == nil {
		undo = func() error { return os.Remove("/dev/disk") }
	} else if !errors.Is(err, fs.ErrExist) {
		return nil, nil, nil, err
	}
	return args, env, undo, nil
}

func tmpfsOn(all []mount, point string) bool {
	found := false
	for _, m := range all {
		if m.point == point {
			found = m.fsType == "tmpfs" // the last mount on a point is the one that is seen
		}
	}
	return found
}

// withoutUdev makes a udevadm in bin that does nothing, and returns the
// environment in which it is found first.
func withoutUdev(bin string) ([]string, error) {
	if err := os.Mkdir(bin, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(bin, "udevadm"), []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
		return nil, err
	}
	return []string{"PATH=" + bin + string(filepath.ListSeparator) + os.Getenv("PATH")}, nil
}

// setMirror writes into a recipe where the host's apt gets bookworm from.
func setMirror(ctx context.Context, recipe string) error {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets",
		"--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)", "Created-By: Packages").Output()
	if err != nil {
		return fmt.Errorf("ask apt for its mirror: %w", err)
	}
	data, err := os.ReadFile(recipe)
	if err != nil {
		return err
	}
	return os.WriteFile(recipe, bytes.ReplaceAll(data, []byte("MIRROR"), []byte(mirrorOf(string(out), "bookworm"))), 0o644)
}

// mirrorOf picks the mirror of a suite's main component from lines of suite,
// component and address. A host of another suite has none: then it is the
// address that always works.
func mirrorOf(targets, suite string) string {
	for line := range strings.Lines(targets) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == suite && f[1] == "main" {
			return f[2]
		}
	}
	return "http://deb.debian.org/debian"
}
