package module

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"bake.build/bake/internal/lazyregexp"
	"golang.org/x/mod/semver"
)

// maxPath is how many bytes the path of a module has at most.
const maxPath = 200

// element is one part of a path. Upper case is not in it, so that two modules never
// differ in case alone, which some file systems cannot tell.
var element = lazyregexp.New(`^[a-z0-9_~-]+(\.[a-z0-9_~-]+)*$`)

// CheckPath says what is wrong with the path of a module.
func CheckPath(p string) error {
	if p == "" || len(p) > maxPath {
		return fmt.Errorf("module path %q: want 1 to %d characters", p, maxPath)
	}
	elements := strings.Split(p, "/")
	for _, e := range elements {
		if !element.MatchString(e) {
			return fmt.Errorf("module path %q: want elements of small letters, digits and ._~- with %q between them, such as \"acme.example/golden\"", p, "/")
		}
	}
	if elements[0] == "bake" {
		return fmt.Errorf("module path %q: what begins with \"bake\" is shipped with bake", p)
	}
	if last := path.Base(p); looksMajor(last) && (len(elements) == 1 || majorOf(p) < 2 || last != "v"+strconv.Itoa(majorOf(p))) {
		return fmt.Errorf("module path %q: the last element is a major version, want v2 or higher, or none", p)
	}
	return nil
}

func looksMajor(e string) bool {
	digits := strings.TrimPrefix(e, "v")
	return digits != e && digits != "" && strings.Trim(digits, "0123456789") == ""
}

// majorOf returns the major version that a path ends in, or 0.
func majorOf(p string) int {
	if last := path.Base(p); looksMajor(last) {
		if n, err := strconv.Atoi(last[1:]); err == nil {
			return n
		}
	}
	return 0
}

// NameOf returns the name that a module has where its user gives none: the last
// element of its path that is no major version.
func NameOf(p string) string {
	if majorOf(p) > 0 {
		p = path.Dir(p)
	}
	return path.Base(p)
}

var name = lazyregexp.New(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// CheckName says what is wrong with the name that a module is loaded by.
func CheckName(n string) error {
	switch {
	case !name.MatchString(n):
		return fmt.Errorf("name %q: want small letters, digits and ._-, beginning with a letter or digit", n)
	case n == "bake":
		return errors.New(`name "bake" is that of the shipped library`)
	}
	return nil
}

// A Version is a semantic version with its "v", such as "v1.4.0" or "v2.0.0-rc.1"; or
// the name of a branch or commit of a git repository, which no order is known of; or
// "" for a local folder, which is taken as it is.

// IsRelease reports whether v is a semantic version.
func IsRelease(v string) bool { return semver.IsValid(v) && semver.Canonical(v) == v }

// Compare compares two semantic versions.
func Compare(v, w string) int { return semver.Compare(v, w) }

// CheckVersion says what is wrong with the version v of the module path.
func CheckVersion(p, v string) error {
	switch {
	case strings.ContainsFunc(v, odd) || strings.HasPrefix(v, "-") || strings.Contains(v, ".."):
		return fmt.Errorf("version %q: want a semantic version such as \"v1.4.0\", a branch or a commit", v)
	case IsRelease("v" + v):
		return fmt.Errorf("version %q: want \"v%s\"", v, v)
	case semver.IsValid(v) && !IsRelease(v):
		return fmt.Errorf("version %q: want all three numbers and nothing behind them, %q", v, semver.Canonical(v))
	case IsRelease(v):
		return checkMajor(p, v)
	}
	return nil
}

// checkMajor holds the rule that a path says the major version from 2 on.
func checkMajor(p, v string) error {
	major, _ := strconv.Atoi(strings.TrimPrefix(semver.Major(v), "v"))
	want := max(majorOf(p), 1)
	if major == want || major == 0 && want == 1 {
		return nil
	}
	base := p
	if majorOf(p) > 0 {
		base = path.Dir(p)
	}
	if major >= 2 {
		base += "/v" + strconv.Itoa(major)
	}
	return fmt.Errorf("version %s is not of the module %s: major version %d has the path %q", v, p, major, base)
}

// Newest returns the highest of versions that the module path can have, or "".
// Prereleases count only where there is no release.
func Newest(p string, versions []string) string {
	best := ""
	for _, v := range versions {
		if !IsRelease(v) || checkMajor(p, v) != nil {
			continue
		}
		pre, bestPre := semver.Prerelease(v) != "", semver.Prerelease(best) != ""
		if best == "" || bestPre && !pre || pre == bestPre && Compare(v, best) > 0 {
			best = v
		}
	}
	return best
}
