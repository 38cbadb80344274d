package origin

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"bake.build/bake/platforms"
)

// Problems returns what origins need and this host does not have.
func Problems() []platforms.Problem {
	var all []platforms.Problem
	all = append(all, debianProblems(defaultKeyring)...)
	all = append(all, of("disk", toolProblem("qemu-img", "qemu-utils", "disk origins"))...)
	for _, p := range toolProblem("xz", "xz-utils", "tar origins compressed with xz") {
		p.Origin, p.Optional = "tar", true
		all = append(all, p)
	}
	return all
}

// of marks problems as those of one kind of origin.
func of(kind string, problems []platforms.Problem) []platforms.Problem {
	for i := range problems {
		problems[i].Origin = kind
	}
	return problems
}

// debianProblems returns what debian origins lack.
func debianProblems(keyring string) []platforms.Problem {
	const need = "debian origins"
	var all []platforms.Problem
	for _, t := range []struct{ tool, pkg string }{
		{"mmdebstrap", "mmdebstrap"}, {"gpgv", "gpgv"}, {"apt-get", "apt"}, {"mount", "mount"},
	} {
		all = append(all, toolProblem(t.tool, t.pkg, need)...)
	}
	if _, err := os.Stat(keyring); err != nil {
		p := platforms.Problem{What: "the keyring " + keyring + " is missing", Need: need}
		if keyring == defaultKeyring {
			p.Fix = "apt-get install debian-archive-keyring"
		}
		all = append(all, p)
	}
	return of("debian", all)
}

func toolProblem(tool, pkg, need string) []platforms.Problem {
	if _, err := exec.LookPath(tool); err == nil {
		return nil
	}
	return []platforms.Problem{{What: tool + " is not installed", Fix: "apt-get install " + pkg, Need: need}}
}

// missing turns problems into one error.
func missing(problems []platforms.Problem) error {
	var errs []error
	for _, p := range problems {
		if p.Fix == "" {
			errs = append(errs, errors.New(p.What))
			continue
		}
		errs = append(errs, fmt.Errorf("%s (%s)", p.What, p.Fix))
	}
	return errors.Join(errs...)
}

// hostArch returns the host's architecture as Debian names it.
func hostArch() string {
	switch runtime.GOARCH {
	case "386":
		return "i386"
	case "arm":
		return "armhf"
	case "ppc64le":
		return "ppc64el"
	}
	return runtime.GOARCH
}
