package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/disk"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/op"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/solve"
)

// foresee returns why artifacts that would be written cannot be: what a plan can
// see without running anything.
func (s *session) foresee(ctx context.Context, schedule *solve.Schedule, f *buildFlags) []error {
	var errs []error
	if err := s.checkOut(toRun(s.def.Plan, schedule), f); err != nil {
		errs = append(errs, err)
	}
	for _, n := range s.def.Plan.Nodes {
		e, ok := n.Op.(*export.Op)
		if !ok || schedule.Of(n).State != solve.ToRun {
			continue
		}
		err := s.foreseeExport(ctx, schedule, n, f)
		if err == nil {
			err = s.foreseeKernel(n, e)
		}
		if err != nil {
			errs = append(errs, &plan.Error{Pos: n.Pos, Err: fmt.Errorf("export: %w", err)})
		}
	}
	return errs
}

// checkOut returns an error with the code exitHost where nodes make files and none
// can be written.
func (s *session) checkOut(nodes []*plan.Node, f *buildFlags) error {
	makesFiles := func(n *plan.Node) bool { _, err := artifactName(n); return err == nil }
	if !slices.ContainsFunc(nodes, makesFiles) {
		return nil
	}
	if err := writable(s.abs(f.out)); err != nil {
		return coded(exitHost, fmt.Errorf("--out %s: %w", f.out, err))
	}
	return nil
}

// toRun returns the nodes of p that have to run.
func toRun(p *plan.Plan, schedule *solve.Schedule) []*plan.Node {
	var run []*plan.Node
	for _, n := range p.Nodes {
		if schedule.Of(n).State == solve.ToRun {
			run = append(run, n)
		}
	}
	return run
}

// foreseeExport looks into the layer of the artifact n, where that stands.
func (s *session) foreseeExport(ctx context.Context, schedule *solve.Schedule, n *plan.Node, f *buildFlags) error {
	layer, err := layerOf(n)
	if err != nil || schedule.Of(layer).State != solve.Cached {
		return err
	}
	driver, err := s.drivers.get(layer.Platform)
	if err != nil {
		return err
	}
	if _, ok := driver.(platforms.Treer); !ok || s.enterErr != nil {
		return nil
	}
	chain, err := s.chain(ctx, driver, layer, schedule.Of(layer).Key)
	if err != nil {
		return err
	}
	exporter := &exporter{s: s, out: s.abs(f.out)}
	request, err := exporter.request(solve.Job{Node: n, Driver: driver, Chain: chain}, n.Op.(*export.Op))
	if err != nil {
		return err
	}
	return export.Check(ctx, request)
}

// foreseeKernel says that an artifact will have no kernel where nothing but the
// origin installs packages, and the definition names none.
func (s *session) foreseeKernel(n *plan.Node, e *export.Op) error {
	disks := slices.ContainsFunc(s.formats, func(f export.Format) bool {
		return f.From == export.FromDisk && slices.Contains(e.Formats, f.Name)
	})
	if !disks || e.Boot == disk.BootNone {
		return nil
	}
	m := n.Deps[0]
	for ; ; m = m.Deps[0] {
		switch m.Op.(type) {
		case *op.Copy, *op.Write:
			continue
		}
		break
	}
	src, ok := m.Op.(plan.Source)
	if kind := ""; !ok {
		return nil
	} else if kind = src.Origin().Kind; kind != "debian" && kind != "ubuntu" {
		return nil
	}
	var options struct{ Packages []string }
	if err := json.Unmarshal(src.Origin().Options, &options); err != nil {
		return err
	}
	if slices.ContainsFunc(options.Packages, func(p string) bool { return strings.HasPrefix(p, "linux-") || strings.Contains(p, "kernel") }) {
		return nil
	}
	return errors.New(`the disk has no kernel to boot: add linux-image-cloud-amd64 to packages, or give boot = "none"`)
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
