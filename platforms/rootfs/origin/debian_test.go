package origin

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"bake.build/bake/platforms"
)

func TestOptionsAreDeclared(t *testing.T) {
	origins := 0
	for _, o := range platforms.Options(reflect.TypeFor[Options]()) {
		if o.IsOrigin {
			origins++
		}
	}
	if origins != 7 {
		t.Errorf("%d origins", origins)
	}
}

func TestCheckOptions(t *testing.T) {
	for _, c := range []struct {
		kind string
		opts Options
		want string // part of the error
	}{
		{"debian", Options{Debian: "bookworm", Packages: []string{"nginx-light", "libc6:amd64", "vim=2:9.0.1378-2", "apt/sid", "exim4-"}}, ""},
		{"debian", Options{Debian: "bookworm; rm -rf /"}, "not the name of a suite"},
		{"debian", Options{Debian: "bookworm", Packages: []string{"a,b"}}, "not the name of a package"},
		{"debian", Options{Debian: "bookworm", Packages: []string{"--no-check"}}, "not the name of a package"},
		{"debian", Options{Debian: "bookworm", Packages: []string{"./evil.deb"}}, "not the name of a package"},
		{"debian", Options{Debian: "bookworm", Packages: []string{"$(id)"}}, "not the name of a package"},
		{"debian", Options{Debian: "bookworm", Components: []string{"main] http://evil"}}, "not the name of a component"},
		{"debian", Options{Debian: "bookworm", Snapshot: "2026-07-01", Mirror: "http://x/debian"}, "snapshot"},
		{"debian", Options{Debian: "bookworm", SHA256: strings.Repeat("0", 64)}, "sha256 means nothing"},
		{"ubuntu", Options{Ubuntu: "noble", Packages: []string{"jq"}, Components: []string{"universe"}}, ""},
		{"ubuntu", Options{Ubuntu: "Noble Numbat"}, `ubuntu "Noble Numbat": not the name of a suite`},
		{"oci", Options{OCI: "debian", Packages: []string{"x"}}, "packages means nothing"},
		{"tar", Options{SHA256: "abc"}, "64 hex digits"},
		{"tar", Options{SHA512: strings.Repeat("0", 64)}, "128 hex digits"},
		{"tar", Options{SHA256: strings.Repeat("0", 64), Checksums: "https://h/S"}, "one of them"},
		{"debian", Options{Debian: "bookworm", Checksums: "https://h/S"}, "checksums means nothing"},
		{"tar", Options{Docs: true}, "docs means nothing"},
		{"scratch", Options{Scratch: true}, ""},
	} {
		err := c.opts.check(c.kind, nil)
		if err == nil && (c.kind == "debian" || c.kind == "ubuntu") {
			err = c.opts.checkDebian()
		}
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %+v: got %v, want %q", c.kind, c.opts, err, c.want)
		}
	}
}

func TestParts(t *testing.T) {
	for _, c := range []struct {
		opts Options
		host hostApt
		want string // "uri suite, …" or part of the error
	}{
		{Options{Debian: "bookworm"}, hostApt{},
			"http://deb.debian.org/debian bookworm, http://deb.debian.org/debian bookworm-updates, http://deb.debian.org/debian-security bookworm-security"},
		{Options{Debian: "trixie", Mirror: "https://m.example/debian/", SecurityMirror: "none"}, hostApt{archive: "http://other"},
			"https://m.example/debian trixie, https://m.example/debian trixie-updates"},
		{Options{Debian: "buster"}, hostApt{archive: "http://a/debian", security: "http://s/sec"},
			"http://a/debian buster, http://a/debian buster-updates, http://s/sec buster/updates"},
		{Options{Debian: "sid"}, hostApt{}, "http://deb.debian.org/debian sid"},
		{Options{Debian: "testing"}, hostApt{}, "http://deb.debian.org/debian testing"},
		{Options{Debian: "bookworm", Snapshot: "2026-07-01", SecurityMirror: ""}, hostApt{archive: "http://other"},
			"https://snapshot.debian.org/archive/debian/20260701T000000Z bookworm, https://snapshot.debian.org/archive/debian/20260701T000000Z bookworm-updates, https://snapshot.debian.org/archive/debian-security/20260701T000000Z bookworm-security"},
		{Options{Ubuntu: "noble", Arch: "amd64"}, hostApt{},
			"http://archive.ubuntu.com/ubuntu noble, http://archive.ubuntu.com/ubuntu noble-updates, http://security.ubuntu.com/ubuntu noble-security"},
		{Options{Ubuntu: "noble", Arch: "arm64"}, hostApt{},
			"http://ports.ubuntu.com/ubuntu-ports noble, http://ports.ubuntu.com/ubuntu-ports noble-updates, http://ports.ubuntu.com/ubuntu-ports noble-security"},
		{Options{Ubuntu: "noble-proposed", Arch: "amd64"}, hostApt{archive: "http://host/ubuntu"}, "http://host/ubuntu noble-proposed"},
		{Options{Ubuntu: "noble", Snapshot: "2026-07-01"}, hostApt{},
			"https://snapshot.ubuntu.com/ubuntu/20260701T000000Z noble, https://snapshot.ubuntu.com/ubuntu/20260701T000000Z noble-updates, https://snapshot.ubuntu.com/ubuntu/20260701T000000Z noble-security"},
		{Options{Debian: "bookworm", Snapshot: "yesterday"}, hostApt{}, `snapshot "yesterday": want a date`},
		{Options{Debian: "bookworm", Mirror: "ftp://x/debian"}, hostApt{}, "want an http or https URL"},
		{Options{Debian: "bookworm", Mirror: "http://u:secret@x/debian"}, hostApt{}, "would stay in the image"},
		{Options{Debian: "bookworm", Mirror: "http://x/debian sid main"}, hostApt{}, "mirror"},
	} {
		archive, security, err := c.opts.archives(c.host)
		if err != nil {
			if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%+v: %v, want %q", c.opts, err, c.want)
			}
			continue
		}
		var got []string
		for _, p := range c.opts.parts(archive, security) {
			got = append(got, p.uri+" "+p.suite)
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%+v:\ngot  %s\nwant %s", c.opts, s, c.want)
		}
	}
}

func TestSourcesList(t *testing.T) {
	got := sourcesList([]part{{"https://m/debian", "bookworm"}}, []string{"main", "contrib"}, "/k.gpg", "http", "check-valid-until=no")
	if want := "deb [signed-by=/k.gpg check-valid-until=no] http://m/debian bookworm main contrib"; len(got) != 1 || got[0] != want {
		t.Errorf("got %q", got)
	}
}

func TestReadHostApt(t *testing.T) {
	root := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		name = filepath.Join(root, "etc/apt", name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := readHostApt(t.Context(), root, debian, "amd64"); got.archive != "" || got.security != "" {
		t.Errorf("an empty host names %+v", got)
	}
	write("sources.list", "# deb http://no/debian x main\ndeb cdrom:[x]/ y main\ndeb-src http://no/debian x\n"+
		"deb [arch=amd64 signed-by=/x] http://u:p@no/debian bookworm main\n")
	write("sources.list.d/a.sources", "Types: deb\nEnabled: no\nURIs: http://no/debian\n\n# x\nTypes: deb\nURIs:\n https://yes.example/debian/\n http://no/debian\nSuites: x\n"+
		"\nURIs: http://sec.example/debian-security\n")
	got := readHostApt(t.Context(), root, debian, "amd64")
	if got.archive != "https://yes.example/debian" || got.security != "http://sec.example/debian-security" {
		t.Errorf("got %+v", got)
	}
	write("sources.list.d/ubuntu.sources", "Types: deb\nURIs: http://ub.example/ubuntu\nSuites: noble noble-security\n")
	if got := readHostApt(t.Context(), root, ubuntu, "amd64"); got.archive != "http://ub.example/ubuntu" || got.security != "http://ub.example/ubuntu" {
		t.Errorf("of Ubuntu: %+v", got)
	}
	if got := readHostApt(t.Context(), root, ubuntu, "arm64"); got.archive != "" {
		t.Errorf("of Ubuntu's other architectures: %+v", got)
	}
	write("sources.list", "deb [arch=amd64] http://first.example/debian bookworm main\n")
	if got := readHostApt(t.Context(), root, debian, "amd64"); got.archive != "http://first.example/debian" {
		t.Errorf("got %+v", got)
	}
}

func TestPinDecidesMirror(t *testing.T) {
	pin := &platforms.Pin{Detail: map[string]string{
		"bookworm":          "http://pinned/debian sha256:00",
		"bookworm-updates":  "http://pinned/debian sha256:00",
		"bookworm-security": "http://pinned/security sha256:00",
	}}
	parts, err := Options{Debian: "bookworm"}.currentParts(pin, hostApt{archive: "http://host/debian"})
	if err != nil || len(parts) != 3 || parts[0].uri != "http://pinned/debian" || parts[2].uri != "http://pinned/security" {
		t.Errorf("got %v, %v", parts, err)
	}
	parts, err = Options{Debian: "bookworm", Mirror: "http://mine/debian"}.currentParts(pin, hostApt{})
	if err != nil || parts[0].uri != "http://mine/debian" {
		t.Errorf("got %v, %v", parts, err)
	}
}
