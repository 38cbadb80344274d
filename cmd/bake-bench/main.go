package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// A measurement runs something and says what came of it.
type measurement struct {
	name string
	doc  string
	run  func(ctx context.Context, b *bench) ([]row, error)
}

// measurements lists all, in the order in which they run.
func measurements() []measurement {
	return []measurement{
		{"cold", "a first build, with nothing in the cache, against debos", measureCold},
		{"rebuild", "the last step changed and the disk written again, against Packer", measureRebuild},
		{"nothing", "nothing changed, against Packer and against sha256sum", measureNothing},
		{"plan", "a plan of 10,000 nodes evaluated and keyed", measurePlan},
		{"modules", "100 modules from a registry that answers slowly, against one after the other; a module verified, against sha256sum", measureModules},
		{"loads", "10,000 nodes that 200 modules make, evaluated and keyed", measureLoads},
		{"tidy", "1,000 definitions formatted, and linted with their scripts", measureTidy},
		{"memory", "peak memory of a build with a small and with a large image", measureMemory},
		{"machines", "builds in a virtual machine: cold, last step changed, nothing changed, against Packer", measureMachines},
		{"two", "two images in two machines at once, against one", measureTwo},
		{"upload", "a large file and many small ones into a machine, against scp and Packer", measureUpload},
		{"ebs", "an image published as an AMI over a link of a set speed: all of it, one file changed, nothing changed", measureEBS},
		{"glance", "an image of 1 GiB uploaded to an OpenStack of Debian's packages, against curl -T", measureGlance},
		{"ova", "a disk written as an OVA, against deflate alone and against qemu-img, tar and sha256sum", measureOVA},
		{"vsphere", "an OVA and a disk uploaded to vcsim, against an HTTP PUT of the same bytes", measureVSphere},
		{"formats", "four formats of one layer, against the slowest of them alone", measureFormats},
	}
}

type flags struct {
	bake      string
	only      string
	skipPeers bool
	keep      bool
	json      string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// parse reads the command line.
func parse(args []string) (flags, []measurement, error) {
	var f flags
	set := flag.NewFlagSet("bake-bench", flag.ContinueOnError)
	set.StringVar(&f.bake, "bake", "bin/bake", "the bake to measure")
	set.StringVar(&f.only, "only", "", "comma-separated `names` of what to measure")
	set.BoolVar(&f.skipPeers, "skip-peers", false, "compare with the last recorded runs of the other tools")
	set.BoolVar(&f.keep, "keep", false, "keep the working directory")
	set.StringVar(&f.json, "json", "", "also write the results to a `file`")
	set.Usage = func() {
		fmt.Fprintln(set.Output(), "usage: bake-bench [flags]")
		set.PrintDefaults()
		fmt.Fprintln(set.Output(), "measurements:")
		for _, m := range measurements() {
			fmt.Fprintf(set.Output(), "  %-10s %s\n", m.name, m.doc)
		}
	}
	if err := set.Parse(args); err != nil {
		return f, nil, err
	}
	if set.NArg() > 0 {
		return f, nil, fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	chosen, err := choose(measurements(), f.only)
	return f, chosen, err
}

// choose returns the measurements that only names, or all.
func choose(all []measurement, only string) ([]measurement, error) {
	if only == "" {
		return all, nil
	}
	wanted := map[string]bool{}
	for _, name := range strings.Split(only, ",") {
		wanted[strings.TrimSpace(name)] = true
	}
	var chosen []measurement
	for _, m := range all {
		if wanted[m.name] {
			chosen = append(chosen, m)
			delete(wanted, m.name)
		}
	}
	for name := range wanted {
		return nil, fmt.Errorf("-only: no measurement is called %q; -h lists them", name)
	}
	return chosen, nil
}

func run(ctx context.Context, args []string) (err error) {
	f, chosen, err := parse(args)
	if err != nil {
		return err
	}
	b, err := newBench(f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()

	var rows []row
	var failed []error
	for _, m := range chosen {
		b.logf("%s: %s", m.name, m.doc)
		got, err := m.run(ctx, b)
		rows = append(rows, got...)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", m.name, err))
			b.logf("%s: did not succeed", m.name)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if err := publish(os.Stdout, rows, b.notes, f.json); err != nil {
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// publish prints the table and, if path is not empty, writes the rows to a
// file as JSON.
func publish(w io.Writer, rows []row, notes []string, path string) error {
	if err := writeTable(w, rows, notes); err != nil || path == "" {
		return err
	}
	data, err := json.MarshalIndent(struct {
		Rows  []row    `json:"rows"`
		Notes []string `json:"notes"`
	}{rows, notes}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}
