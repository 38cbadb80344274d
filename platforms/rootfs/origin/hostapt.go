package origin

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// A hostApt is what the host's own apt says about a distribution's archives.
type hostApt struct {
	archive, security string // "" when the host is not of the distribution
	proxy             string // of HTTP; "" for none
	skipDates         bool   // release files may be out of date
}

// readHostApt reads the configuration of the host's apt below root.
func readHostApt(ctx context.Context, root string, d distro, arch string) hostApt {
	archive, security := d.addresses(arch)
	var h hostApt
	dir := filepath.Join(root, "etc/apt")
	for _, uri := range append(oneLineSources(dir), deb822Sources(dir)...) {
		uri = strings.TrimRight(uri, "/")
		if _, err := mirrorURL("", uri); err != nil {
			continue // cdrom:, file: and the like, or one with a password
		}
		// A mirror has the last part of the address that it mirrors.
		base := path.Base(uri)
		if h.archive == "" && base == path.Base(archive) {
			h.archive = uri
		}
		if h.security == "" && base == path.Base(security) {
			h.security = uri
		}
	}
	// A host without apt simply says nothing.
	out, err := exec.CommandContext(ctx, "apt-config", "shell",
		"PROXY", "Acquire::http::Proxy", "VALID", "Acquire::Check-Valid-Until/b").Output()
	if err != nil {
		return h
	}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(value, "'")
		switch {
		case name == "PROXY" && value != "DIRECT":
			h.proxy = value
		case name == "VALID":
			h.skipDates = value == "false"
		}
	}
	return h
}

// oneLineSources returns the addresses in sources.list and *.list.
func oneLineSources(dir string) []string {
	var uris []string
	for _, file := range sourceFiles(dir, "sources.list", "*.list") {
		for _, line := range readLines(file) {
			rest, ok := strings.CutPrefix(line, "deb ")
			if !ok {
				continue
			}
			rest = strings.TrimSpace(rest)
			if strings.HasPrefix(rest, "[") {
				_, after, ok := strings.Cut(rest, "]")
				if !ok {
					continue
				}
				rest = after
			}
			if f := strings.Fields(rest); len(f) >= 2 {
				uris = append(uris, f[0])
			}
		}
	}
	return uris
}

// deb822Sources returns the addresses in *.sources, the format of
// sources.list(5) with paragraphs.
func deb822Sources(dir string) []string {
	var uris []string
	for _, file := range sourceFiles(dir, "", "*.sources") {
		var here []string
		enabled, inURIs := true, false
		flush := func() {
			if enabled {
				uris = append(uris, here...)
			}
			here, enabled, inURIs = nil, true, false
		}
		for _, line := range append(readLines(file), "") {
			if strings.TrimSpace(line) == "" {
				flush()
				continue
			}
			if strings.HasPrefix(line, "#") {
				continue
			}
			if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
				if inURIs {
					here = append(here, strings.Fields(line)...)
				}
				continue
			}
			name, value, _ := strings.Cut(line, ":")
			inURIs = strings.EqualFold(name, "URIs")
			switch {
			case inURIs:
				here = append(here, strings.Fields(value)...)
			case strings.EqualFold(name, "Enabled"):
				enabled = !strings.EqualFold(strings.TrimSpace(value), "no")
			}
		}
	}
	return uris
}

func sourceFiles(dir, main, parts string) []string {
	var files []string
	if main != "" {
		files = append(files, filepath.Join(dir, main))
	}
	// The pattern is a constant, so there is no error.
	more, _ := filepath.Glob(filepath.Join(dir, "sources.list.d", parts))
	return append(files, more...)
}

// readLines returns the lines of a file, or none when it cannot be read: what
// the host says is a default only.
func readLines(file string) []string {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	var lines []string
	for s := bufio.NewScanner(f); s.Scan(); {
		lines = append(lines, s.Text())
	}
	return lines
}
