package origin

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"bake.build/bake/internal/lazyregexp"
	"bake.build/bake/platforms/image/fetch"
)

// A part is one suite of one archive that packages come from.
type part struct {
	uri   string // of the archive, without a final slash
	suite string
}

// release is the URL of the part's release file.
func (p part) release() string { return p.uri + "/dists/" + p.suite + "/InRelease" }

// rank is the place of the part among those of one suite.
func (p part) rank() int {
	switch {
	case strings.HasSuffix(p.suite, "-security") || strings.HasSuffix(p.suite, "/updates"):
		return 2
	case strings.HasSuffix(p.suite, "-updates"):
		return 1
	}
	return 0
}

// components returns what of the archive is used.
func (o Options) components() []string {
	if len(o.Components) == 0 {
		d, _ := o.distro()
		return d.components
	}
	return o.Components
}

var (
	suiteName     = lazyregexp.New(`^[a-z][a-z0-9.+-]*$`)
	componentName = lazyregexp.New(`^[a-z][a-z0-9-]*$`)
	// An apt package argument: name, :arch, =version or /suite, and + or -.
	packageName = lazyregexp.New(`^[a-z0-9][a-z0-9+.-]*(:[a-z0-9-]+)?([=/][A-Za-z0-9.+:~-]+)?$`)
)

// checkDebian finds values that cannot be, before they reach a program.
func (o Options) checkDebian() error {
	if d, suite := o.distro(); !suiteName.MatchString(suite) {
		return fmt.Errorf("%s %q: not the name of a suite", d.name, suite)
	}
	for _, c := range o.Components {
		if !componentName.MatchString(c) {
			return fmt.Errorf("components: %q is not the name of a component", c)
		}
	}
	for _, p := range o.Packages {
		if !packageName.MatchString(p) {
			return fmt.Errorf("packages: %q is not the name of a package", p)
		}
	}
	if o.Snapshot != "" && (o.Mirror != "" || o.SecurityMirror != "") {
		return fmt.Errorf("snapshot: names the mirror already, so mirror and security_mirror cannot be given")
	}
	return nil
}

// archives returns the addresses of the main and of the security archive; the
// second is "" when there is to be none.
func (o Options) archives(host hostApt) (archive, security string, err error) {
	d, _ := o.distro()
	if o.Snapshot != "" {
		at, err := snapshotTime(o.Snapshot)
		if err != nil {
			return "", "", err
		}
		archive, security = d.snapshot(at)
		return archive, security, nil
	}
	archive, security = d.addresses(o.Arch)
	if host.archive != "" {
		archive = host.archive
	}
	if host.security != "" {
		security = host.security
	}
	if o.Mirror != "" {
		if archive, err = mirrorURL("mirror", o.Mirror); err != nil {
			return "", "", err
		}
	}
	if o.SecurityMirror == "none" {
		security = ""
	} else if o.SecurityMirror != "" {
		if security, err = mirrorURL("security_mirror", o.SecurityMirror); err != nil {
			return "", "", err
		}
	}
	return archive, security, nil
}

// mirrorURL checks the address of an archive. It must be safe to stand in a
// line of sources.list, and must not hold a secret, since it stays in the image.
func mirrorURL(option, s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: %w", option, fetch.WithoutURL(err))
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "", fmt.Errorf("%s %q: want an http or https URL", option, s)
	case u.User != nil:
		return "", fmt.Errorf("%s %s: a user or password in it would stay in the image", option, u.Redacted())
	case u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(s, " \t\n[]#\"'\\"):
		return "", fmt.Errorf("%s %q: not the address of an archive", option, s)
	}
	return strings.TrimRight(s, "/"), nil
}

// snapshotTime turns a date or a time into the form that snapshot.debian.org
// has in its addresses.
func snapshotTime(s string) (string, error) {
	const form = "20060102T150405Z"
	for _, layout := range []string{form, "20060102", "2006-01-02", time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC().Format(form), nil
		}
	}
	return "", fmt.Errorf("snapshot %q: want a date such as 2026-07-01 or a time such as 20260701T000000Z", s)
}

// parts returns the suites to install from. Whether a suite has updates is
// known for sure when its release file was read: see distro.hasUpdates.
func (o Options) parts(archive, security string) []part {
	d, suite := o.distro()
	parts := []part{{archive, suite}}
	if d.rolling(suite) {
		return parts
	}
	parts = append(parts, part{archive, suite + "-updates"})
	if security != "" {
		parts = append(parts, part{security, d.securitySuite(suite)})
	}
	return parts
}

// sourcesList returns the lines of sources.list for parts. scheme, if not "",
// replaces that of the addresses.
func sourcesList(parts []part, components []string, keyring, scheme string, options ...string) []string {
	var lines []string
	for _, p := range parts {
		uri := p.uri
		if scheme != "" {
			_, rest, _ := strings.Cut(uri, "://")
			uri = scheme + "://" + rest
		}
		opts := append([]string{"signed-by=" + keyring}, options...)
		lines = append(lines, fmt.Sprintf("deb [%s] %s %s %s",
			strings.Join(opts, " "), uri, p.suite, strings.Join(components, " ")))
	}
	return lines
}
