package main

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/spf13/cobra"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/plan"
)

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "check this host for missing tools, and print how to install them",
		Long: `Lists the tools and rights that this host lacks, for all platforms of this host, and
how to install them. bake plan lists what it lacks for one definition. The exit code
is 4 when something is missing.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return a.doctor()
		},
	}
}

// doctor prints what is missing and fails with exitHost if anything is.
func (a *app) doctor() (err error) {
	h, err := build.OpenHost(a.config(nil))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	for _, spec := range a.specs {
		if d, err := h.Driver(&plan.Platform{Name: spec.Name}); err == nil { // otherwise it is one of the problems
			a.writeArchs(d)
		}
	}
	problems := h.Problems()
	if len(problems) == 0 {
		fmt.Fprintln(a.stdout, "nothing is missing")
		return nil
	}
	writeProblems(a.stdout, problems)
	return coded(exitHost, build.WithHint(errors.New("this host lacks something; see above"),
		"only what a definition uses is needed: bake plan DEFINITION shows what is missing for it"))
}

// writeArchs tells which architectures the driver d runs no programs of on this
// host, if that matters to it: images of these can be made with qemu(), or once what
// is missing is there.
func (a *app) writeArchs(d platforms.Driver) {
	c, ok := d.(platforms.ArchChecker)
	if !ok {
		return
	}
	for _, arch := range []string{"amd64", "arm64"} {
		for _, p := range c.CheckArch(arch) {
			fmt.Fprintf(a.stdout, "note: %s; for %s: %s\n", p.What, p.Need, p.Fix)
		}
	}
}

// packagesOf merges the apt-get lines among fixes into one.
func packagesOf(problems []platforms.Problem) (packages []string, others []string) {
	const apt = "apt-get install "
	seen := make(map[string]bool)
	for _, p := range problems {
		list, ok := strings.CutPrefix(p.Fix, apt)
		if !ok {
			if p.Fix != "" && !seen[p.Fix] {
				others = append(others, p.Fix)
			}
			seen[p.Fix] = true
			continue
		}
		for name := range strings.FieldsSeq(list) {
			if !seen[name] && !strings.HasPrefix(name, "-") {
				packages = append(packages, name)
			}
			seen[name] = true
		}
	}
	sort.Strings(packages)
	return packages, others
}

// A writer takes lines; it is what fmt.Fprintf needs.
type writer interface{ Write([]byte) (int, error) }

// writeProblems lists problems, each once with all that needs it, and after
// them the commands that install or repair it.
func writeProblems(w writer, problems []platforms.Problem) {
	var order []string
	needs := make(map[string][]string)
	for _, p := range problems {
		if _, told := needs[p.What]; !told {
			order = append(order, p.What)
			needs[p.What] = nil
		}
		if p.Need != "" {
			needs[p.What] = append(needs[p.What], p.Need)
		}
	}
	for _, what := range order {
		fmt.Fprintf(w, "missing: %s", what)
		if len(needs[what]) > 0 {
			fmt.Fprintf(w, " (needed for %s)", strings.Join(needs[what], ", "))
		}
		fmt.Fprintln(w)
	}
	packages, others := packagesOf(problems)
	if len(packages) > 0 {
		fmt.Fprintf(w, "to install: apt-get install --no-install-recommends %s\n", strings.Join(packages, " "))
	}
	for _, fix := range others {
		fmt.Fprintf(w, "to fix: %s\n", fix)
	}
}
