package origin

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"bake.build/bake/platforms"
)

// Problems returns what origins need and this host does not have.
func Problems() []platforms.Problem {
	var all []platforms.Problem
	all = append(all, debianProblems(debian, debian.keyring)...)
	all = append(all, debianProblems(ubuntu, "")...)
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

// debianProblems returns what origins of a distribution lack. Whether the
// keyring is there is not looked at when that is "": a host whose images are all
// Debian's lacks nothing.
func debianProblems(d distro, keyring string) []platforms.Problem {
	need := d.name + " origins"
	var all []platforms.Problem
	for _, t := range []struct{ tool, pkg string }{
		{"mmdebstrap", "mmdebstrap"}, {"gpgv", "gpgv"}, {"apt-get", "apt"}, {"mount", "mount"},
	} {
		all = append(all, toolProblem(t.tool, t.pkg, need)...)
	}
	if keyring == "" {
		return of(d.name, all)
	}
	if _, err := os.Stat(keyring); err != nil {
		p := platforms.Problem{What: "the keyring " + keyring + " is missing", Need: need}
		switch {
		case keyring != d.keyring:
		case d.keyringPkg != "":
			p.Fix = "apt-get install " + d.keyringPkg
		default: // no package of Debian has it
			p.Fix = "copy it from the package " + d.name + "-keyring of an " + d.name + " system, and name another place with keyring"
		}
		all = append(all, p)
	}
	return of(d.name, all)
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
