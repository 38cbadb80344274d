package origin

import (
	"runtime"
	"strings"
)

// A distro is a distribution that mmdebstrap installs: where its archives are,
// what signs them and which suites have updates.
type distro struct {
	name       string // of the option of source()
	archive    string // address of the main archive; of main architectures
	security   string // address of the archive of security updates
	ports      string // address of the archive of other architectures; "" for the same
	snapshots  string // address of the archive's history, up to the time
	keyring    string // where the keys are, on the host as in the image
	keyringPkg string // the package of the host that brings them; "" for none of Debian
	components []string
}

var debian = distro{
	name:       "debian",
	archive:    "http://deb.debian.org/debian",
	security:   "http://deb.debian.org/debian-security",
	snapshots:  "https://snapshot.debian.org/archive/",
	keyring:    "/usr/share/keyrings/debian-archive-keyring.gpg",
	keyringPkg: "debian-archive-keyring",
	components: []string{"main"},
}

// Ubuntu keeps what is not amd64 or i386 on ports.ubuntu.com, and has most of
// what Debian calls main in universe.
var ubuntu = distro{
	name:       "ubuntu",
	archive:    "http://archive.ubuntu.com/ubuntu",
	security:   "http://security.ubuntu.com/ubuntu",
	ports:      "http://ports.ubuntu.com/ubuntu-ports",
	snapshots:  "https://snapshot.ubuntu.com/",
	keyring:    "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
	components: []string{"main", "universe"},
}

// distro returns the distribution that the options name, and its suite.
func (o Options) distro() (d distro, suite string) {
	if o.Ubuntu != "" {
		return ubuntu, o.Ubuntu
	}
	return debian, o.Debian
}

// addresses returns the archives' own addresses for an architecture.
func (d distro) addresses(arch string) (archive, security string) {
	if arch == "" {
		arch = hostArch()
	}
	if d.ports != "" && arch != "amd64" && arch != "i386" {
		return d.ports, d.ports
	}
	return d.archive, d.security
}

// snapshot returns the addresses of the archives as they were at a time.
func (d distro) snapshot(at string) (archive, security string) {
	if d.name == ubuntu.name { // one archive, which has the security suites too
		archive = d.snapshots + "ubuntu/" + at
		return archive, archive
	}
	return d.snapshots + "debian/" + at, d.snapshots + "debian-security/" + at
}

// rolling reports whether a suite is its own newest state and has no updates
// beside it, or is one part of a suite, named for itself.
func (d distro) rolling(suite string) bool {
	switch suite {
	case "sid", "unstable", "experimental", "rc-buggy", "testing":
		return d.name == debian.name
	}
	return strings.Contains(suite, "-") // such as bookworm-backports
}

// hasUpdates reports whether the suite with the release file r gets updates:
// Debian's only once they are stable.
func (d distro) hasUpdates(r release) bool {
	if d.name == ubuntu.name {
		return !strings.Contains(r.suite, "-")
	}
	return strings.Contains(r.suite, "stable") && r.suite != "unstable"
}

// securitySuite returns the name of a suite's security updates.
func (d distro) securitySuite(suite string) string {
	switch suite {
	case "jessie", "stretch", "buster": // as it was called before 2021
		return suite + "/updates"
	}
	return suite + "-security"
}

// merged names the directories of / that are links to those of /usr.
func (d distro) merged(suite, arch string) string {
	dirs := "bin sbin lib"
	if arch == "" {
		arch = hostArch()
	}
	if arch != "amd64" {
		return dirs
	}
	switch suite {
	case "buster", "bullseye", "bookworm", "focal", "jammy":
		return dirs + " lib32 lib64 libx32"
	}
	return dirs + " lib64"
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
