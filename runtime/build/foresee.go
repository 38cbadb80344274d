package build

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/disk"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/op"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/solve"
)

// Foresee returns why artifacts that would be written cannot be: what a plan can
// see without running anything.
func (b *Build) Foresee(ctx context.Context, schedule *solve.Schedule) []error {
	var errs []error
	if err := b.checkOut(b.toRun(schedule)); err != nil {
		errs = append(errs, err)
	}
	for _, n := range b.Definition.Plan.Nodes {
		d, ok := n.Op.(*export.Disk)
		if !ok || schedule.Of(n).State != solve.ToRun {
			continue
		}
		err := b.foreseeDisk(ctx, schedule, n, d)
		if err == nil {
			err = b.foreseeKernel(n, d)
		}
		if err != nil {
			errs = append(errs, exportError(n, err))
		}
	}
	return errs
}

func exportError(n *plan.Node, err error) error {
	return &plan.Error{Pos: n.Pos, Err: fmt.Errorf("export: %w", err)}
}

// checkKernels returns an error of the kind KindDefinition for each disk among nodes
// that will have no kernel.
func (b *Build) checkKernels(nodes []*plan.Node) error {
	var errs []error
	for _, n := range nodes {
		if d, ok := n.Op.(*export.Disk); ok {
			if err := b.foreseeKernel(n, d); err != nil {
				errs = append(errs, exportError(n, err))
			}
		}
	}
	return of(KindDefinition, errors.Join(errs...))
}

// checkOut returns an error of the kind KindHost where nodes make files and none
// can be written.
func (b *Build) checkOut(nodes []*plan.Node) error {
	makesFiles := func(n *plan.Node) bool {
		_, published := n.Op.(*export.Publish) // of which manifest.json tells
		_, err := artifactName(n)
		return published || err == nil
	}
	if !slices.ContainsFunc(nodes, makesFiles) {
		return nil
	}
	if err := writable(b.out()); err != nil {
		return of(KindHost, fmt.Errorf("--out %s: %w", cmp.Or(b.Out, "out"), err))
	}
	return nil
}

// foreseeDisk looks into the layer of the disk n, where that is there.
func (b *Build) foreseeDisk(ctx context.Context, schedule *solve.Schedule, n *plan.Node, d *export.Disk) error {
	layer, err := layerOf(n)
	if err != nil || schedule.Of(layer).State != solve.Cached {
		return err
	}
	driver, err := b.Driver(layer.Platform)
	if err != nil {
		return err
	}
	if _, ok := driver.(platforms.Treer); !ok || b.rightsErr != nil {
		return nil
	}
	chain, err := b.layers().Chain(ctx, layer.Platform, schedule.Of(layer).Key)
	if err != nil {
		return err
	}
	traits, err := b.layers().Describe(ctx, layer)
	if err != nil {
		return err
	}
	traits = chain[len(chain)-1].Traits.Or(traits)
	exporter := &exporter{b: b, out: b.out()}
	request, err := exporter.diskRequest(solve.Job{Node: n, Driver: driver, Chain: chain, Traits: traits}, d)
	if err != nil {
		return err
	}
	return export.Check(ctx, request)
}

// foreseeKernel says that a disk will have no kernel where nothing but the origin
// installs packages, and the definition names none.
func (b *Build) foreseeKernel(n *plan.Node, d *export.Disk) error {
	if d.Boot == disk.BootNone {
		return nil
	}
	m := n.Deps[0]
	for leavesKernels(m.Op) {
		m = m.Deps[0]
	}
	src, ok := m.Op.(plan.Source)
	if kind := ""; !ok {
		return nil
	} else if kind = src.Origin().Kind; kind != "debian" && kind != "ubuntu" {
		return nil
	}
	var options struct {
		Packages []string
		Arch     string
	}
	if err := json.Unmarshal(src.Origin().Options, &options); err != nil {
		return err
	}
	if slices.ContainsFunc(options.Packages, func(p string) bool { return strings.HasPrefix(p, "linux-") || strings.Contains(p, "kernel") }) {
		return nil
	}
	kernel := kernelOf(src.Origin().Kind, cmp.Or(options.Arch, runtime.GOARCH))
	return fmt.Errorf(`the disk has no kernel to boot: add %s to packages, or give boot = "none"`, kernel)
}

// leavesKernels reports whether a step neither installs a kernel nor brings one.
func leavesKernels(o plan.Op) bool {
	dst := ""
	switch o := o.(type) {
	case *op.Copy:
		dst = o.Dst
	case *op.Write:
		dst = o.Path
	default:
		return false
	}
	return dst != "/" && dst != "/usr" && !slices.ContainsFunc([]string{"/boot", "/lib", "/usr/lib"}, func(dir string) bool {
		return dst == dir || strings.HasPrefix(dst, dir+"/")
	})
}

// kernelOf returns the package of a kernel for virtual machines.
func kernelOf(distribution, arch string) string {
	switch {
	case distribution == "ubuntu":
		return "linux-image-virtual"
	case arch == "amd64" || arch == "arm64":
		return "linux-image-cloud-" + arch
	case arch == "i386":
		return "linux-image-686-pae"
	case arch == "armhf":
		return "linux-image-armmp"
	case arch == "ppc64el":
		return "linux-image-powerpc64le"
	}
	return "linux-image-" + arch
}

// writable returns an error where nothing can be written into dir, or, while that
// is not there, into what it would be made in.
func writable(dir string) error {
	for {
		info, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir) {
			dir = filepath.Dir(dir)
			continue
		}
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return fmt.Errorf("%s is a file", dir)
		}
		return mayWrite(dir)
	}
}
