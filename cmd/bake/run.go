package main

import (
	"bake.build/bake/runtime/store"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"bake.build/bake/internal/printable"
	"bake.build/bake/internal/spell"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/solve"
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
		Long: `Boots a machine on an artifact, which is built first when it does not stand, or
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
	flags.StringVar(&f.memory, "memory", "", "the machine's memory, a `size` such as 2G (default: the platform's)")
	flags.IntVar(&f.cpus, "cpus", 0, "how many virtual CPUs it has (default: the platform's)")
	flags.StringVar(&f.arch, "arch", "", "its architecture, amd64 or arm64 (default: the artifact's)")
	flags.BoolVar(&f.uefi, "uefi", false, "boot by UEFI (default: as the artifact does)")
	flags.BoolVar(&f.shell, "shell", false, "log in over SSH with a key of this run, instead of showing the console")
	flags.StringVar(&f.user, "user", "", "with --shell: a `user` of the image whom the shell belongs to (default: root)")
	flags.StringArrayVar(&f.forward, "forward", nil, "lead a port of this host's loopback into the machine: `host:guest`, or guest for a free port; repeatable")
	flags.StringVar(&f.keep, "keep", "", "keep what the machine writes in this new `file`, a qcow2 image on top of the artifact's")
	flags.StringVar(&f.consoleLog, "console-log", "", "write the console to this new `file`, too")
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
		if image.Format, err = formatOf(name); err != nil {
			return coded(exitUsage, err)
		}
		return a.runFile(ctx, image, f)
	}
	if len(args) == 1 && isImagePath(name) {
		return coded(exitUsage, fmt.Errorf("%s: no such file", name))
	}
	return a.withMachines(ctx, file, &f.buildFlags, func(s *session) error {
		if err := s.artifactImage(ctx, name, &image, f); err != nil {
			return err
		}
		return s.launch(ctx, image, f)
	})
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

// diskFormats are the formats that machines start from, by the ends of names.
var diskFormats = map[string]string{".qcow2": "qcow2", ".raw": "raw", ".img": "raw", ".vmdk": "vmdk", ".vdi": "vdi", ".vhd": "vhd"}

// isImagePath reports whether a name can only be that of an image's file, and
// not of an artifact.
func isImagePath(name string) bool {
	return strings.ContainsAny(name, `/\`) || diskFormats[strings.ToLower(filepath.Ext(name))] != ""
}

func formatOf(name string) (string, error) {
	if format := diskFormats[strings.ToLower(filepath.Ext(name))]; format != "" {
		return format, nil
	}
	return "", fmt.Errorf("%s: the name ends in none of .qcow2, .raw, .img, .vmdk, .vdi and .vhd, which tell what image it is", name)
}

// runFile boots an image that no definition makes.
func (a *app) runFile(ctx context.Context, image platforms.Image, f *runFlags) (err error) {
	s := &session{app: a}
	if s.store, err = a.openStore(s.note); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	s.drivers = &driverTable{specs: a.specs, host: s.store.Host(store.Lent{Ask: a.ask(s.suspend)})}
	return s.launch(ctx, image, f)
}

// artifactImage builds the artifact and fills in its file.
func (s *session) artifactImage(ctx context.Context, name string, image *platforms.Image, f *runFlags) error {
	targets, err := choose(s.def.Artifacts, []string{name})
	if err != nil {
		return err
	}
	if len(targets) != 1 {
		return coded(exitUsage, fmt.Errorf("%s names %d artifacts, want one", name, len(targets)))
	}
	cfg := s.solveConfig(&f.buildFlags, event.NewStream())
	n := targets[0].Node
	if _, ok := n.Op.(*export.Publish); ok {
		return coded(exitDefinition, fmt.Errorf("the artifact %s is an image of %s, and has no disk that a machine starts from", name, n.Platform.Name))
	}
	d, err := s.decision(ctx, cfg, n)
	if err != nil {
		return err
	}
	if d.State != solve.Cached {
		if err := s.build(ctx, targets, &f.buildFlags); err != nil {
			return err
		}
		if d, err = s.decision(ctx, cfg, n); err != nil {
			return err
		}
	}
	i := slices.IndexFunc(d.Files, func(file solve.File) bool { return diskFormats["."+kindOf(file.Format)] != "" })
	if i < 0 {
		return coded(exitDefinition, fmt.Errorf("the artifact %s has no disk that a machine starts from", name))
	}
	image.Path, image.Format = s.abs(d.Files[i].Path), kindOf(d.Files[i].Format)
	image.Arch = cmp.Or(image.Arch, archOf(n))
	if op, err := exportOp(n); err == nil && op.Boot == "uefi" {
		image.UEFI = true
	}
	return nil
}

// kindOf is the format without its variant: vmdk-sparse is vmdk to who reads it.
func kindOf(format string) string {
	kind, _, _ := strings.Cut(format, "-")
	return kind
}

func (s *session) decision(ctx context.Context, cfg solve.Config, n *plan.Node) (solve.Decision, error) {
	schedule, err := solve.Decide(ctx, cfg, s.def.Plan, []*plan.Node{n})
	if err != nil {
		return solve.Decision{}, err
	}
	return schedule.Of(n), nil
}

// launch boots the image and gives it the terminal.
func (s *session) launch(ctx context.Context, image platforms.Image, f *runFlags) (err error) {
	driver, err := s.launchDriver(image, f)
	if err != nil {
		return err
	}
	if c, ok := driver.(platforms.Checker); ok {
		if problems := c.Check(); len(problems) > 0 {
			return coded(exitHost, &lackError{problems})
		}
	}
	launcher, ok := driver.(platforms.Launcher)
	if !ok {
		return coded(exitUsage, fmt.Errorf("--on %s: this platform does not launch images", f.on))
	}
	m, err := launcher.Launch(ctx, image, lineSink{s.stderr})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := s.showForwards(ctx, m, image.Forward); err != nil {
		return err
	}
	if f.shell {
		return s.interactive(ctx, m)
	}
	return s.console(ctx, m)
}

// launchDriver makes a driver from the flags.
func (s *session) launchDriver(image platforms.Image, f *runFlags) (platforms.Driver, error) {
	spec := s.spec(f.on)
	if spec.Name == "" {
		var names []string
		for _, p := range s.specs {
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
	d, err := s.drivers.get(&plan.Platform{Name: spec.Name, Options: options})
	return d, coded(exitUsage, err)
}

func (s *session) showForwards(ctx context.Context, m platforms.Machine, forwards []platforms.Forward) error {
	for _, forward := range forwards {
		w, ok := m.(platforms.Forwarder)
		if !ok {
			return errors.New("this platform forwards no ports")
		}
		address, err := w.Forwarded(ctx, forward.Guest)
		if err != nil {
			return err
		}
		fmt.Fprintf(s.stderr, "%s leads to the machine's port %d\n", address, forward.Guest)
	}
	return nil
}

// console connects the machine's console with the terminal until the machine
// stops or the user leaves it.
func (s *session) console(ctx context.Context, m platforms.Machine) (err error) {
	c, ok := m.(platforms.Consoler)
	if !ok {
		return errors.New("this platform's machines have no console")
	}
	in, ok := s.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		fmt.Fprintln(s.stderr, "the machine's console; an interrupt (Ctrl-C) ends the machine")
		return c.AttachConsole(ctx, endless{ctx}, printable.Raw(s.stdout))
	}
	fmt.Fprintln(s.stderr, "the machine's console; Ctrl-] ends the machine")
	state, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return fmt.Errorf("set the terminal to raw mode: %w", err)
	}
	defer func() {
		err = errors.Join(err, term.Restore(int(in.Fd()), state))
		fmt.Fprintln(s.stderr)
	}()
	return c.AttachConsole(ctx, &untilEscape{in: in}, printable.Raw(s.stdout))
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
