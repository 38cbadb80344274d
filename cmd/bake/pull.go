package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/export"
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

func (a *app) pull(ctx context.Context, image string, f *pullFlags) (err error) {
	if !slices.Contains(ui.Modes(), f.progress) {
		return coded(exitUsage, fmt.Errorf("--progress %s: want one of auto, tty, plain, json", f.progress))
	}
	if f.region != "" {
		f.options = append(f.options, "region="+f.region)
	}
	_, options, err := a.platformOptions(f.platform, f.options)
	if err != nil {
		return err
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
	h, err := build.OpenHost(a.config(nil))
	if err != nil {
		return err
	}
	d := &display{app: a, mode: f.progress}
	defer func() { err = errors.Join(err, d.close(), h.Close()) }()
	return h.Pull(ctx, build.Pull{Platform: f.platform, Options: options, Image: image, Format: format, Out: out, Events: d})
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
