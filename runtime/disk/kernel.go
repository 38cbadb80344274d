package disk

import (
	"fmt"
	"path"
	"strings"

	"bake.build/bake/runtime/disk/grub"
	"bake.build/bake/runtime/disk/tree"
)

// findKernel returns the kernel of the tree that GRUB's configuration boots: that
// of a link that the distribution keeps, otherwise the newest of those that have an
// initial file system, otherwise the newest.
func findKernel(t *tree.Tree) (grub.Kernel, bool) {
	list := kernels(t)
	var k grub.Kernel
	for _, link := range grub.Links {
		at, e := t.Follow(link.Image)
		if k.Initrd != "" || e == nil || !e.IsRegular() || e.Size == 0 {
			continue
		}
		k = grub.Kernel{Image: "/" + at, Version: versionOf(at)}
		for _, known := range list {
			if real, _ := t.Follow(known.Image); real == at {
				k.Version = known.Version
			}
		}
		if at, e := t.Follow(link.Initrd); e != nil && e.IsRegular() && e.Size > 0 {
			k.Initrd = "/" + at
		}
	}
	if k.Image != "" {
		return k, true
	}
	var best grub.Kernel
	for _, k := range list {
		if best.Image == "" || (k.Initrd != "") != (best.Initrd != "") && k.Initrd != "" ||
			(k.Initrd != "") == (best.Initrd != "") && grub.CompareVersions(best.Version, k.Version) < 0 {
			best = k
		}
	}
	return best, best.Image != ""
}

// kernels lists the kernels of the tree where distributions have them.
func kernels(t *tree.Tree) []grub.Kernel {
	var list []grub.Kernel
	add := func(image, version string) {
		_, e := t.Follow(image)
		if e == nil || !e.IsRegular() || e.Size == 0 {
			return
		}
		k := grub.Kernel{Image: "/" + image, Version: version}
		for _, name := range grub.Initrds(version, path.Dir(image)) {
			if _, e := t.Follow(name); k.Initrd == "" && e != nil && e.IsRegular() && e.Size > 0 {
				k.Initrd = "/" + strings.Trim(name, "/")
			}
		}
		list = append(list, k)
	}
	for _, dir := range []string{"boot", "usr/lib/modules"} {
		e := t.Lookup(dir)
		if e == nil {
			continue
		}
		for _, c := range e.Children {
			if dir != "boot" {
				add(path.Join(dir, c.Name, "vmlinuz"), c.Name)
			} else if v := versionOf(c.Name); v != "" {
				add("boot/"+c.Name, v)
			}
			for _, v := range c.Children {
				if dir == "boot" {
					add(path.Join(dir, c.Name, v.Name, "linux"), v.Name)
				}
			}
		}
	}
	return list
}

// versionOf returns the version in a kernel's name in /boot, or "".
func versionOf(image string) string {
	name := path.Base(image)
	for _, prefix := range grub.Prefixes {
		if v, ok := strings.CutPrefix(name, prefix); ok {
			return v
		}
	}
	return ""
}

// noKernel says what to install.
func noKernel(t *tree.Tree, o *Options) error {
	kernel := "linux-image-cloud-" + o.Arch
	for _, d := range []struct{ tool, kernel string }{
		{"sbin/apk", "linux-virt"}, {"usr/bin/dnf", "kernel-core"}, {"usr/bin/dnf5", "kernel-core"}, {"usr/bin/microdnf", "kernel-core"},
		{"usr/bin/zypper", "kernel-default"}, {"usr/bin/pacman", "linux"},
	} {
		if exists(t, d.tool, "usr/"+d.tool) {
			kernel = d.kernel
		}
	}
	if id, err := readText(t, "usr/lib/os-release"); err == nil && strings.Contains(id, "\nID=ubuntu\n") {
		kernel = "linux-image-virtual"
	}
	return fmt.Errorf("no kernel in /boot or /usr/lib/modules: add %s to packages, or give boot = %q", kernel, BootNone)
}
