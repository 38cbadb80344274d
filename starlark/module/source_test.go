package module

import (
	"strings"
	"testing"
)

const someHex = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestParseSource(t *testing.T) {
	for text, want := range map[string]Source{
		"git+https://Git.Example/acme/golden.git":       {Kind: Git, URL: "https://git.example/acme/golden.git"},
		"git+https://git.example/images?dir=lib/a/":     {Kind: Git, URL: "https://git.example/images", Dir: "lib/a"},
		"git+ssh://git@git.example:2222/a/b":            {Kind: Git, URL: "ssh://git@git.example:2222/a/b"},
		"git+ssh://git@[::1]:2222/~me/b":                {Kind: Git, URL: "ssh://git@[::1]:2222/~me/b"},
		"git+file:///srv/app/../git//golden.git/":       {Kind: Git, URL: "file:///srv/git/golden.git"},
		"git+file:///srv/git/golden.git":                {Kind: Git, URL: "file:///srv/git/golden.git"},
		"oci://Registry.example:5000/images/golden":     {Kind: OCI, URL: "registry.example:5000/images/golden"},
		"https://e.example/a/golden-1.4.tar.gz?x=1":     {Kind: Archive, URL: "https://e.example/a/golden-1.4.tar.gz?x=1"},
		"http://e.example/golden.zip#sha256=" + someHex: {Kind: Archive, URL: "http://e.example/golden.zip", SHA256: someHex},
		"file:../golden/":                               {Kind: Folder, Dir: "../golden"},
		"file:///srv/golden":                            {Kind: Folder, Dir: "/srv/golden"},
	} {
		got, err := ParseSource(text)
		if err != nil || got != want {
			t.Errorf("ParseSource(%q) = %+v, %v; want %+v", text, got, err, want)
			continue
		}
		if again, err := ParseSource(got.String()); err != nil || again != want {
			t.Errorf("ParseSource(%q) = %+v, %v; want what it was written from", got, again, err)
		}
	}
}

// TestRefusedSources has what is no source, and what is made to look like one.
func TestRefusedSources(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "want git+https://",
		"acme":                              "want git+https://",
		"../golden":                         "want file:../golden",
		"git@git.example:acme/golden":       "want git+ssh://git@git.example/acme/golden",
		"ssh://git@git.example/golden":      "want git+ssh://git@git.example/golden",
		"https://git.example/acme.git":      "want git+https://git.example/acme.git",
		"https://git.example/acme":          "want an archive whose name ends in",
		"git://git.example/acme":            "not protected",
		"http://e.example/golden.tar.gz":    "not protected",
		"git+https://git.example":           "no repository",
		"git+https://git.example/a@v1":      "the version",
		"git+https://git.example/a#v1":      "the version",
		"oci://registry.example":            "want oci://HOST/REPOSITORY",
		"oci://registry.example/a:v1":       "the version",
		"oci://registry.example/a@sha256:1": "the version",
		"oci://registry.example/../a":       "repository's name",
		"oci://registry.example/A":          "small letters",
		"git+https://git.example/a/../b":    "want the path without it",
		"git+ssh://git.example/a/%2e%2e/b":  "want the path without it",
		"https://e.example/a/./b.zip":       "want the path without it",
		"git+file://":                       "want git+file:///FOLDER",
		"git+file:///a/..":                  "want git+file:///FOLDER",
		"file:":                             "want file:FOLDER",
		"file://host/x":                     "without a host",
		"https://e.example/a.zip#sha256=12": "64 hexadecimal",

		"git+ssh://-oProxyCommand=id/x":              "could be taken for an option",
		"git+ssh://-oProxyCommand=id@h/x":            "could be taken for an option",
		"git+ssh://git@h/-x":                         "could be taken for an option",
		"git+https://--upload-pack=id/x":             "could be taken for an option",
		"oci://-x/y":                                 "could be taken for an option",
		"git+ext::sh -c id":                          "the character ' '",
		"git+ext::id":                                "want git+https://",
		"git+ext://id":                               "want git+https://",
		"git+https://h/x?dir=../../etc":              "inside of the repository",
		"git+https://h/x?dir=/etc":                   "inside of the repository",
		"git+https://h/x?upload=id":                  "nothing but dir=",
		"git+https://h/x\x1b[2J":                     "the character",
		"git+https://h/x\n":                          "the character",
		"git+https://me:hunter2@h/x":                 "credentials do not belong",
		"https://me:hunter2@h/x.zip":                 "credentials do not belong",
		"oci://me:hunter2@h/x":                       "user's name",
		"git+https://h:8x/x":                         "not a URL",
		"git+ssh://git@h$(id)/x":                     "want a name or an address",
		"git+https://h/" + strings.Repeat("a", 2000): "more than 2000",
	} {
		_, err := ParseSource(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseSource(%q): %v; want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("ParseSource(%q) shows the password: %v", text, err)
		}
	}
}

func TestSplitVersion(t *testing.T) {
	for text, want := range map[string][2]string{
		"oci://registry.example/golden@v1.4.0":   {"oci://registry.example/golden", "v1.4.0"},
		"oci://registry.example/golden":          {"oci://registry.example/golden", ""},
		"git+ssh://git@h/r.git@feature/x":        {"git+ssh://git@h/r.git", "feature/x"},
		"git+ssh://git@h/r.git":                  {"git+ssh://git@h/r.git", ""},
		"git+https://h/r?dir=a@v1.0.0":           {"git+https://h/r?dir=a", "v1.0.0"},
		"git+https://h/r@v1.0.0?dir=a":           {"git+https://h/r?dir=a", "v1.0.0"},
		"https://h/a@1.tar.gz#sha256=" + someHex: {"https://h/a@1.tar.gz#sha256=" + someHex, ""},
		"file:../a@b":                            {"file:../a@b", ""},
	} {
		if source, version := SplitVersion(text); source != want[0] || version != want[1] {
			t.Errorf("SplitVersion(%q) = %q, %q; want %q", text, source, version, want)
		}
	}
}

func TestJoinFolders(t *testing.T) {
	at := Source{Kind: Folder, Dir: "../golden"}
	for dir, want := range map[string]string{"../base": "../base", "sub": "../golden/sub", "/srv": "/srv"} {
		if got := at.Join(Source{Kind: Folder, Dir: dir}); got.Dir != want || !got.Local() {
			t.Errorf("Join(%q) = %+v, want %q", dir, got, want)
		}
	}
}

func FuzzParseSource(f *testing.F) {
	for _, s := range []string{"git+https://h/r?dir=a", "oci://h:1/r", "https://h/a.tar.gz#sha256=" + someHex, "file:../a", "git+ssh://-o@h/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSource(text)
		if err != nil {
			return
		}
		if again, err := ParseSource(s.String()); err != nil || again != s {
			t.Errorf("ParseSource(%q) = %+v; its text %q gives %+v, %v", text, s, s.String(), again, err)
		}
		if strings.HasPrefix(s.URL, "-") || strings.ContainsAny(s.URL, " \n\x00") {
			t.Errorf("ParseSource(%q): hostile URL %q", text, s.URL)
		}
	})
}
