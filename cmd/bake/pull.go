package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"bake.build/bake/internal/printable"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/store"
	"bake.build/bake/runtime/ui"
)

// pullFlags are the flags of bake pull.
type pullFlags struct {
	platform string
	region   string
	options  []string
	out      string
	progress string
}

func (a *app) pullCommand() *cobra.Command {
	f := &pullFlags{}
	cmd := &cobra.Command{
		Use:   "pull IMAGE",
		Short: "read an image of a platform back into a file",
		Long: `Writes the disk of an image, such as an AMI, to a file. The end of its name says
in which format.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.pull(cmd.Context(), args[0], f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.platform, "platform", "aws", "the `platform` that has the image")
	flags.StringVar(&f.region, "region", "", "the `region` that has the image; the same as --option region=…")
	flags.StringArrayVar(&f.options, "option", nil, "an option of the platform, as `name=value`")
	flags.StringVarP(&f.out, "out", "o", "", "the `file` to write, such as disk.qcow2 (default: IMAGE.qcow2)")
	flags.StringVar(&f.progress, "progress", "auto", "how to show progress: auto, tty, plain or json")
	return cmd
}

func (a *app) pull(ctx context.Context, image string, f *pullFlags) error {
	if !slices.Contains(ui.Modes(), f.progress) {
		return coded(exitUsage, fmt.Errorf("--progress %s: want one of auto, tty, plain, json", f.progress))
	}
	spec := a.spec(f.platform)
	if spec.New == nil {
		return coded(exitUsage, fmt.Errorf("--platform: no platform is called %q", f.platform))
	}
	if f.region != "" {
		f.options = append(f.options, "region="+f.region)
	}
	options, err := textOptions(spec.Options, f.options)
	if err != nil {
		return coded(exitUsage, fmt.Errorf("--option: %w", err))
	}
	out := a.abs(f.out)
	if f.out == "" {
		out = a.abs(image + ".qcow2")
	}
	format, err := a.diskFormat(out)
	if err != nil {
		return coded(exitUsage, fmt.Errorf("--out: %w", err))
	}
	if _, err := os.Lstat(out); err == nil {
		return coded(exitUsage, fmt.Errorf("--out: %s is there already", a.rel(out)))
	}
	s, err := a.openStore(func(text string) { fmt.Fprintln(a.stderr, text) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	d, err := spec.New(options, s.Host(store.Lent{Ask: a.ask(nil)}))
	if err != nil {
		return err
	}
	puller, ok := d.(platforms.Puller)
	if !ok {
		return coded(exitUsage, fmt.Errorf("--platform: images of %s cannot be read back", f.platform))
	}
	return a.pullInto(ctx, s, puller, image, format, out, f)
}

// pullInto writes the image beside out, and gives it its name when it is whole.
func (a *app) pullInto(ctx context.Context, s *store.Store, p platforms.Puller, image string, format export.Format, out string, f *pullFlags) (err error) {
	reader, closeUI, err := ui.New(f.progress, printable.Raw(a.stderr), ui.Options{Getenv: a.getenv, Dir: a.dir})
	if err != nil {
		return coded(exitUsage, err)
	}
	defer func() { err = errors.Join(err, closeUI()) }()
	sink := &eventSink{events: event.NewStream(reader), node: &event.Node{Name: "pull: " + image, Kind: "pull"}}
	sink.send(event.Event{Type: event.Planned, Total: 1})
	sink.send(event.Event{Type: event.Started})
	defer func() {
		if err != nil {
			sink.send(event.Event{Type: event.Failed, Err: err})
		} else {
			info, statErr := os.Stat(out)
			if err = statErr; err == nil {
				sink.send(event.Event{Type: event.Artifact, Text: out, Total: info.Size()})
				sink.send(event.Event{Type: event.Done})
			}
		}
		sink.events.Send(event.Event{Type: event.Finished, Err: err})
	}()
	dir, remove, err := s.Host(store.Lent{}).TempDir("pull")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	part := out + ".part"
	disk := part
	if format.Name != "raw" {
		disk = filepath.Join(dir, "disk.raw")
	}
	if err = p.Pull(ctx, image, disk, sink); err == nil && disk != part {
		err = export.Convert(ctx, format, disk, part, sink)
	}
	if err == nil {
		err = os.Rename(part, out)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(part))
	}
	return nil
}

// diskFormat returns the format of disks that the end of a file's name tells.
func (a *app) diskFormat(file string) (export.Format, error) {
	var ends []string
	for _, f := range a.formats {
		if f.From != export.FromDisk {
			continue
		}
		if strings.HasSuffix(file, f.Ext) {
			return f, nil
		}
		ends = append(ends, f.Ext)
	}
	return export.Format{}, fmt.Errorf("%s: the name ends in none of %s", a.rel(file), strings.Join(slices.Compact(ends), ", "))
}

// An eventSink shows a long operation that is no node of a plan.
type eventSink struct {
	events *event.Stream
	node   *event.Node
}

func (s *eventSink) send(e event.Event) {
	e.Node = s.node
	s.events.Send(e)
}

// Write implements platforms.Sink.
func (s *eventSink) Write(p []byte) (int, error) {
	s.send(event.Event{Type: event.Output, Data: p})
	return len(p), nil
}

// Progress implements platforms.Sink.
func (s *eventSink) Progress(what string, done, total int64) {
	s.send(event.Event{Type: event.Progress, Text: what, Done: done, Total: total})
}
