package main

import (
	"bake.build/bake/runtime/store"
	"fmt"
	"path/filepath"
	"slices"

	"bake.build/bake/internal/printable"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/op"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/solve"
	"bake.build/bake/runtime/ui"
)

// enterHost gets the rights that machines need.
func (a *app) enterHost() error {
	if a.enter == nil {
		return nil
	}
	return coded(exitHost, a.enter())
}

// display makes the reader of events that the flags ask for: JSON goes to the
// standard output, for programs, and everything else to the standard error.
func (s *session) display(f *buildFlags) (event.Reader, func() error, error) {
	out := s.stderr
	if f.progress == "json" {
		out = s.stdout
	}
	reader, end, err := ui.New(f.progress, printable.Raw(out), ui.Options{Getenv: s.getenv, Dir: s.dir})
	if err != nil {
		return nil, nil, coded(exitUsage, err)
	}
	s.suspender, _ = reader.(ui.Suspender)
	return reader, end, nil
}

// solveConfig returns how plans are run.
func (s *session) solveConfig(f *buildFlags, events *event.Stream) solve.Config {
	return solve.Config{
		Store:     s.store,
		Exports:   s.exporter(f),
		Drivers:   s.drivers.get,
		Events:    events,
		Jobs:      f.jobs,
		Claims:    s.claims(f),
		Project:   s.project.Root,
		KeepGoing: f.keepGoing,
		OnError:   solve.OnError(f.onError),
		Shell:     s.failureShell,
		Secrets:   s.secrets,
		LogDir:    filepath.Join(s.store.Dir(), "logs"),
		Why:       s.why(),
	}
}

// why returns what explains a layer that is not in the store. The record of
// the last build is read when it is first asked.
func (s *session) why() func(*plan.Node) string {
	var past *pastBuild
	return func(n *plan.Node) string {
		if past == nil {
			var err error
			if past, err = s.past(); err != nil {
				s.warn(err.Error())
				past = &pastBuild{}
			}
		}
		return past.reason(s.def, n)
	}
}

// workPlatform returns the platform whose machines and files n works with, or nil:
// for an image that is registered elsewhere, that of its layer.
func workPlatform(n *plan.Node) *plan.Platform {
	if _, ok := n.Op.(*export.Publish); ok {
		return n.Deps[0].Platform
	}
	return n.Platform
}

// lacking returns what this host lacks to run nodes.
func (s *session) lacking(nodes []*plan.Node) ([]platforms.Problem, error) {
	var all problemSet
	checked := make(map[string][]platforms.Problem) // by the ID of the platform
	for _, n := range nodes {
		artifact, isExport := n.Op.(*export.Op)
		if p, ok := n.Op.(*export.Publish); ok {
			artifact, isExport = p.Disk(), true
		}
		if isExport {
			d, err := s.drivers.get(workPlatform(n))
			if err != nil {
				return nil, err
			}
			if _, ok := d.(platforms.Disker); ok {
				all.add(s.formats.ProblemsFromDisk(artifact.Formats)...)
				if t, ok := d.(platforms.DiskTreer); ok && s.formats.FromFiles(artifact.Formats) {
					all.add(t.CheckDiskTree()...)
				}
			} else {
				all.add(s.formats.Problems(artifact.Formats, artifact.Boot)...)
			}
			continue
		}
		if n.Platform == nil {
			continue
		}
		problems, ok := checked[n.Platform.ID()]
		if !ok {
			d, err := s.drivers.get(n.Platform)
			if err != nil {
				return nil, err
			}
			if c, ok := d.(platforms.Checker); ok {
				problems = c.Check()
			}
			checked[n.Platform.ID()] = problems
		}
		kind := ""
		if src, ok := n.Op.(plan.Source); ok {
			kind = src.Origin().Kind
		}
		all.add(s.lackingArch(n)...)
		for _, p := range problems {
			if !p.Optional && (p.Origin == "" || p.Origin == kind) {
				all.add(p)
			}
		}
	}
	return all.list, nil
}

// lackingArch returns what this host lacks to run programs of the architecture of
// n's layer, where n runs some.
func (s *session) lackingArch(n *plan.Node) []platforms.Problem {
	switch o := n.Op.(type) {
	case *op.Shell, *op.Test:
	case plan.Source:
		if kind := o.Origin().Kind; kind != "debian" && kind != "ubuntu" {
			return nil
		}
	default:
		return nil
	}
	d, err := s.drivers.get(n.Platform)
	if err != nil {
		return nil // told where the driver is asked for more
	}
	if c, ok := d.(platforms.ArchChecker); ok {
		return c.CheckArch(archOf(n))
	}
	return nil
}

// problems returns what this host lacks for anything that bake can do, and tells
// what else is to be known of it.
func (a *app) problems() ([]platforms.Problem, error) {
	var all problemSet
	s, err := a.openStore(func(text string) { fmt.Fprintln(a.stderr, text) })
	if err != nil {
		return nil, err
	}
	defer s.Close()
	for _, spec := range a.specs {
		d, err := spec.New(nil, s.Host(store.Lent{Ask: a.ask(nil)}))
		if err != nil {
			all.add(platforms.Problem{What: err.Error(), Need: "the platform " + spec.Name})
			continue
		}
		a.writeArchs(d)
		if checker, ok := d.(platforms.Checker); ok {
			all.add(checker.Check()...)
		}
	}
	all.add(a.formats.Problems(a.formats.Names(), "")...)
	return all.list, nil
}

// A problemSet lists problems, each once.
type problemSet struct{ list []platforms.Problem }

func (s *problemSet) add(problems ...platforms.Problem) {
	for _, p := range problems {
		if !slices.Contains(s.list, p) {
			s.list = append(s.list, p)
		}
	}
}
