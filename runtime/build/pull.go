package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/plan"
)

// A Pull says which image is read back from a platform, and into which file.
type Pull struct {
	Platform string
	Options  json.RawMessage // of the platform, as canonical JSON
	Image    string          // as the platform names it
	Format   export.Format
	Out      string // absolute; must not exist

	// Events takes how it goes, as that of one node. It may be nil.
	Events event.Reader
}

// Pull writes the disk of an image of a platform to a file, which is there when it is
// whole.
func (h *Host) Pull(ctx context.Context, p Pull) (err error) {
	d, err := h.Driver(&plan.Platform{Name: p.Platform, Options: p.Options})
	if err != nil {
		return of(KindUsage, err)
	}
	puller, ok := d.(platforms.Puller)
	if !ok {
		return of(KindUsage, fmt.Errorf("images of %s cannot be read back", p.Platform))
	}
	logger := &eventLogger{events: event.NewStream(), node: &event.Node{Name: "pull: " + p.Image, Kind: "pull"}}
	if p.Events != nil {
		logger.events = event.NewStream(p.Events)
	}
	logger.send(event.Event{Type: event.Planned, Total: 1})
	logger.send(event.Event{Type: event.Started})
	start := time.Now()
	if err = h.pullInto(ctx, puller, p, logger); err != nil {
		logger.send(event.Event{Type: event.Failed, Err: err})
	} else {
		logger.send(event.Event{Type: event.Done, Elapsed: time.Since(start)})
	}
	logger.events.Send(event.Event{Type: event.Finished, Err: err})
	return err
}

// pullInto writes the image beside its file, and gives it its name when it is whole.
func (h *Host) pullInto(ctx context.Context, puller platforms.Puller, p Pull, logger *eventLogger) (err error) {
	dir, remove, err := h.lent.TempDir("pull")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	part := p.Out + ".part"
	disk := part
	if p.Format.Name != "raw" {
		disk = filepath.Join(dir, "disk.raw")
	}
	if err = puller.Pull(ctx, p.Image, disk, logger); err == nil && disk != part {
		err = export.Convert(ctx, p.Format, disk, part, logger)
	}
	if err == nil {
		err = os.Rename(part, p.Out)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(part))
	}
	info, err := os.Stat(p.Out)
	if err != nil {
		return err
	}
	logger.send(event.Event{Type: event.Artifact, Text: p.Out, Total: info.Size()})
	return nil
}

// An eventLogger shows a long operation that is no node of a plan.
type eventLogger struct {
	events *event.Stream
	node   *event.Node
}

func (s *eventLogger) send(e event.Event) {
	e.Node = s.node
	s.events.Send(e)
}

// Write implements platforms.Logger.
func (s *eventLogger) Write(p []byte) (int, error) {
	s.send(event.Event{Type: event.Output, Data: p})
	return len(p), nil
}

// Progress implements platforms.Logger.
func (s *eventLogger) Progress(what string, done, total int64) {
	s.send(event.Event{Type: event.Progress, Text: what, Done: done, Total: total})
}
