package main

import (
	"io/fs"
	"path/filepath"
	"strings"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/export"
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
	reader, end, err := ui.New(f.progress, out, ui.Options{Getenv: s.getenv, Dir: s.dir})
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
				s.note(err.Error())
				past = &pastBuild{}
			}
		}
		return past.reason(s.def, n)
	}
}

var _ = []any{fs.ErrNotExist, strings.Contains, platforms.Problem{}, export.Formats}
