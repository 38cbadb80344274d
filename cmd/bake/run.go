package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"bake.build/bake/internal/printable"
	"bake.build/bake/internal/spell"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/plan"
)

// runFlags are the flags of bake run.
type runFlags struct {
	buildFlags
	on, memory, arch string
	user             string
	cpus             int
	uefi, shell      bool
	forward          []string
	keep, consoleLog string
}

func (a *app) runCommand() *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use:   "run [DEFINITION] ARTIFACT | IMAGE",
		Short: "boot an artifact, or any disk image, with its console on the terminal",
		Long: `Boots a machine on an artifact, which is built first unless it is up to date, or
on the file of a disk image. Its console is on the terminal; Ctrl-] ends the
machine. What the machine writes is thrown away, unless --keep names a file.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runImage(cmd.Context(), args, f)
		},
	}
	cmd.ValidArgsFunction = a.completer(allTargets)
	f.addTo(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.on, "on", "qemu", "the `platform` that the machine runs on")
	flags.StringVar(&f.memory, "memory", "", "memory of the machine, a `size` such as 2G (default: the platform's)")
	flags.IntVar(&f.cpus, "cpus", 0, "number of virtual CPUs (default: the platform's)")
	flags.StringVar(&f.arch, "arch", "", "architecture, amd64 or arm64 (default: the artifact's)")
	flags.BoolVar(&f.uefi, "uefi", false, "boot by UEFI (default: as the artifact does)")
	flags.BoolVar(&f.shell, "shell", false, "open a shell over SSH instead of showing the console")
	flags.StringVar(&f.user, "user", "", "with --shell: the `user` to log in as (default: root)")
	flags.StringArrayVar(&f.forward, "forward", nil, "forward a local port to the machine, as `host:guest`, or guest alone for a free local port; repeatable")
	flags.StringVar(&f.keep, "keep", "", "save the machine's writes to this new `file`, a qcow2 overlay of the artifact's disk")
	flags.StringVar(&f.consoleLog, "console-log", "", "also write the console to this new `file`")
	return cmd
}

func (a *app) runImage(ctx context.Context, args []string, f *runFlags) error {
	file, name := defaultDefinition, args[0]
	if len(args) == 2 {
		file, name = args[0], args[1]
	}
	image, err := f.image(a)
	if err != nil {
		return coded(exitUsage, err)
	}
	if info, err := os.Stat(a.abs(name)); len(args) == 1 && err == nil && info.Mode().IsRegular() && !strings.HasSuffix(name, ".star") {
		image.Path = a.abs(name)
		image.Variables = export.VariablesBeside(image.Path)
		if image.Format, err = formatOf(name); err != nil {
			return coded(exitUsage, err)
		}
		return a.runFile(ctx, image, f)
	}
	if len(args) == 1 && isImagePath(name) {
		if _, err := os.Stat(a.abs(name)); err == nil {
			return coded(exitUsage, fmt.Errorf("%s: not a regular file", name))
		}
		return coded(exitUsage, fmt.Errorf("%s: no such file", name))
	}
	return a.withMachines(ctx, file, &f.buildFlags, func(s *session) error {
		if err := s.image(ctx, name, &image, f); err != nil {
			return err
		}
		return a.launch(ctx, s.Host, image, f)
	})
}

// runFile boots an image that no definition makes.
func (a *app) runFile(ctx context.Context, image platforms.Image, f *runFlags) (err error) {
	h, err := build.OpenHost(a.config(nil))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	return a.launch(ctx, h, image, f)
}

// image builds the artifact unless it is up to date, and fills in its file.
func (s *session) image(ctx context.Context, name string, image *platforms.Image, f *runFlags) (err error) {
	defer func() { err = errors.Join(err, s.display.close()) }()
	o, err := s.options(&f.buildFlags)
	if err != nil {
		return err
	}
	return s.Image(ctx, name, image, o)
}

// image returns what the flags say of the machine.
func (f *runFlags) image(a *app) (platforms.Image, error) {
	i := platforms.Image{Arch: f.arch, UEFI: f.uefi, NoLogin: !f.shell, User: f.user}
	if f.user != "" && !f.shell {
		return i, errors.New("--user: says who the shell of --shell belongs to, and there is none")
	}
	for _, text := range f.forward {
		host, guest, both := strings.Cut(text, ":")
		if !both {
			host, guest = "0", text
		}
		h, err1 := strconv.ParseUint(host, 10, 16)
		g, err2 := strconv.ParseUint(guest, 10, 16)
		if err1 != nil || err2 != nil || g == 0 {
			return i, fmt.Errorf("--forward %s: want two ports, such as 8080:80", text)
		}
		i.Forward = append(i.Forward, platforms.Forward{Host: int(h), Guest: int(g)})
	}
	if f.keep != "" {
		i.Changes = a.abs(f.keep)
	}
	if f.consoleLog != "" {
		i.ConsoleLog = a.abs(f.consoleLog)
	}
	return i, nil
}

// isImagePath reports whether a name can only be that of an image's file, and
// not of an artifact.
func isImagePath(name string) bool {
	_, err := formatOf(name)
	return strings.ContainsAny(name, `/\`) || err == nil
}

func formatOf(name string) (string, error) {
	if f, ok := platforms.DiskFormatOf(name); ok && !f.ReadOnly {
		return f.Name, nil
	}
	return "", fmt.Errorf("%s: the name ends in none of %s, which tell what image it is", name, strings.Join(platforms.DiskExts(), ", "))
}

// launch boots the image and gives it the terminal.
func (a *app) launch(ctx context.Context, h *build.Host, image platforms.Image, f *runFlags) (err error) {
	driver, err := a.launchDriver(h, image, f)
	if err != nil {
		return err
	}
	if c, ok := driver.(platforms.Checker); ok {
		if problems := c.Check(); len(problems) > 0 {
			return coded(exitHost, &build.LackError{Problems: problems})
		}
	}
	launcher, ok := driver.(platforms.Launcher)
	if !ok {
		return coded(exitUsage, fmt.Errorf("--on %s: this platform does not launch images", f.on))
	}
	m, err := launcher.Launch(ctx, image, lineLogger{a.stderr})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := a.showForwards(ctx, m, image.Forward); err != nil {
		return err
	}
	if f.shell {
		return a.interactive(ctx, m)
	}
	return a.console(ctx, m)
}

// launchDriver makes a driver from the flags.
func (a *app) launchDriver(h *build.Host, image platforms.Image, f *runFlags) (platforms.Driver, error) {
	spec := h.Spec(f.on)
	if spec.Name == "" {
		var names []string
		for _, p := range a.specs {
			names = append(names, p.Name)
		}
		return nil, coded(exitUsage, fmt.Errorf("--on %s: no such platform%s", f.on, spell.Hint(f.on, "platforms", names)))
	}
	values := map[string]any{"memory": f.memory, "arch": image.Arch, "cpus": f.cpus}
	given := map[string]any{}
	for _, o := range spec.Options {
		if v, ok := values[o.Name]; ok && v != "" && v != 0 {
			given[o.Name] = v
		}
	}
	options, err := json.Marshal(given)
	if err != nil {
		return nil, err
	}
	d, err := h.Driver(&plan.Platform{Name: spec.Name, Options: options})
	return d, coded(exitUsage, err)
}

func (a *app) showForwards(ctx context.Context, m platforms.Machine, forwards []platforms.Forward) error {
	for _, forward := range forwards {
		w, ok := m.(platforms.Forwarder)
		if !ok {
			return errors.New("this platform forwards no ports")
		}
		address, err := w.Forwarded(ctx, forward.Guest)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.stderr, "%s forwards to port %d of the machine\n", address, forward.Guest)
	}
	return nil
}

// console connects the machine's console with the terminal until the machine
// stops or the user leaves it.
func (a *app) console(ctx context.Context, m platforms.Machine) (err error) {
	c, ok := m.(platforms.Consoler)
	if !ok {
		return errors.New("this platform's machines have no console")
	}
	in, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		fmt.Fprintln(a.stderr, "the machine's console; an interrupt (Ctrl-C) ends the machine")
		return c.AttachConsole(ctx, endless{ctx}, printable.Raw(a.stdout))
	}
	fmt.Fprintln(a.stderr, "the machine's console; Ctrl-] ends the machine")
	state, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return fmt.Errorf("set the terminal to raw mode: %w", err)
	}
	defer func() {
		err = errors.Join(err, term.Restore(int(in.Fd()), state))
		fmt.Fprintln(a.stderr)
	}()
	return c.AttachConsole(ctx, &untilEscape{in: in}, printable.Raw(a.stdout))
}

// endless is an input from which nothing comes.
type endless struct{ ctx context.Context }

func (e endless) Read([]byte) (int, error) {
	<-e.ctx.Done()
	return 0, io.EOF
}

// escape is Ctrl-].
const escape = 0x1d

// untilEscape ends when the escape key is pressed.
type untilEscape struct {
	in    io.Reader
	ended bool
}

func (u *untilEscape) Read(p []byte) (int, error) {
	if u.ended {
		return 0, io.EOF
	}
	n, err := u.in.Read(p)
	if i := bytes.IndexByte(p[:n], escape); i >= 0 {
		u.ended = true
		return i, io.EOF
	}
	return n, err
}
