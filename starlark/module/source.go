package module

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Kind is a kind of source.
type Kind string

// The kinds of sources, and how each is written:
//
//	git+https://HOST/REPOSITORY[?dir=FOLDER]   also git+ssh:// and git+file://
//	oci://HOST/REPOSITORY
//	https://HOST/FILE[#sha256=HEX]             .tar, .tar.gz, .tgz, .tar.zst or .zip
//	file:FOLDER
const (
	Git     Kind = "git"
	OCI     Kind = "oci"
	Archive Kind = "archive"
	Folder  Kind = "folder"
)

// A Source is where the files of a module come from. What ParseSource returns can be
// compared with ==. The zero Source is none.
type Source struct {
	Kind Kind

	// URL is what a repository or an archive is asked from: git's URL, HOST/REPOSITORY
	// of a registry, or the archive's URL without its digest. It is never one that git
	// could take for an option, and holds no password.
	URL string

	Dir    string // of Git, the folder of the repository that is the module; of Folder, the folder, with slashes
	SHA256 string // of Archive, in hex; "" if it was not given
}

// Archives are the ends of the names of archives that are read.
var archives = [...]string{".tar", ".tar.gz", ".tgz", ".tar.zst", ".zip"}

// ParseSource reads a source as bake.mod has it, without a version.
func ParseSource(text string) (Source, error) {
	s, err := parseSource(text)
	if err != nil {
		return Source{}, fmt.Errorf("source %q: %w", hidePassword(text), err)
	}
	return s, nil
}

// SplitVersion cuts the version off a source that is written SOURCE@VERSION. The
// version is "" where there is none. A branch may have slashes.
func SplitVersion(text string) (source, version string) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || strings.HasPrefix(text, "http") {
		return text, "" // a folder or an archive, in whose name "@" is a character
	}
	host, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return text, ""
	}
	repository, version, ok := strings.Cut(rest, "@")
	if !ok {
		return text, ""
	}
	version, query, ok := strings.Cut(version, "?")
	if ok {
		repository += "?" + query
	}
	return scheme + "://" + host + "/" + repository, version
}

// String writes the source as ParseSource reads it.
func (s Source) String() string {
	switch s.Kind {
	case Git:
		text := "git+" + s.URL
		if s.Dir != "" {
			text += "?dir=" + s.Dir
		}
		return text
	case OCI:
		return "oci://" + s.URL
	case Archive:
		if s.SHA256 != "" {
			return s.URL + "#sha256=" + s.SHA256
		}
		return s.URL
	case Folder:
		return "file:" + s.Dir
	}
	return ""
}

// Local reports whether it is a folder of this machine, which has no version and is
// taken as it is.
func (s Source) Local() bool { return s.Kind == Folder }

// Single reports whether it is an archive, and so one version.
func (s Source) Single() bool { return s.Kind == Archive }

// Join returns the folder that a module in the folder s calls of.
func (s Source) Join(of Source) Source {
	if !path.IsAbs(of.Dir) {
		of.Dir = path.Join(s.Dir, of.Dir)
	}
	return of
}

func parseSource(text string) (Source, error) {
	if err := plainText(text); err != nil {
		return Source{}, err
	}
	if dir, ok := strings.CutPrefix(text, "file:"); ok {
		return parseFolder(dir)
	}
	scheme, _, ok := strings.Cut(text, "://")
	switch {
	case !ok && strings.Contains(text, "@") && strings.Contains(text, ":"):
		user, rest, _ := strings.Cut(text, "@")
		host, repository, _ := strings.Cut(rest, ":")
		return Source{}, fmt.Errorf("want git+ssh://%s@%s/%s", user, host, strings.TrimPrefix(repository, "/"))
	case !ok && (strings.HasPrefix(text, ".") || strings.HasPrefix(text, "/")):
		return Source{}, fmt.Errorf("want file:%s for a folder", text)
	case !ok:
		return Source{}, errForms
	}
	switch scheme {
	case "git+https", "git+ssh", "git+file":
		return parseGit(strings.TrimPrefix(text, "git+"))
	case "oci":
		return parseOCI(strings.TrimPrefix(text, "oci://"))
	case "https", "http":
		return parseArchive(text)
	case "ssh", "file":
		return Source{}, fmt.Errorf("want git+%s for a git repository", text)
	case "git", "git+http":
		return Source{}, errors.New("its bytes are not protected on their way: want git+https:// or git+ssh://")
	}
	return Source{}, errForms
}

var errForms = errors.New("want git+https://…, git+ssh://…, git+file://…, oci://…, https://….tar.gz or file:…")

// plainText refuses what no place of a module has and a terminal or a program may
// take for something else.
func plainText(text string) error {
	if i := strings.IndexFunc(text, odd); i >= 0 {
		r, _ := utf8.DecodeRuneInString(text[i:])
		return fmt.Errorf("it has the character %q", r)
	}
	if len(text) > 2000 {
		return errors.New("it has more than 2000 characters")
	}
	return nil
}

// odd reports whether a terminal, a shell or a file system may take r for something
// else than a character.
func odd(r rune) bool { return !unicode.IsPrint(r) || r == ' ' || r == '\\' || r == utf8.RuneError }

func parseFolder(dir string) (Source, error) {
	if strings.HasPrefix(dir, "//") {
		if !strings.HasPrefix(dir, "///") {
			return Source{}, errors.New("want file:FOLDER, without a host")
		}
		dir = dir[len("//"):]
	}
	if dir == "" || strings.ContainsAny(dir, "?#") {
		return Source{}, errors.New("want file:FOLDER, such as file:../golden")
	}
	return Source{Kind: Folder, Dir: path.Clean(dir)}, nil
}

func parseGit(text string) (Source, error) {
	u, err := parseURL(text)
	if err != nil {
		return Source{}, err
	}
	s := Source{Kind: Git}
	if u.RawQuery != "" {
		dir, ok := strings.CutPrefix(u.RawQuery, "dir=")
		if !ok || strings.ContainsAny(dir, "&%") {
			return Source{}, errors.New("want nothing but dir=FOLDER behind the question mark")
		}
		if s.Dir, err = insideRepository(dir); err != nil {
			return Source{}, err
		}
		u.RawQuery = ""
	}
	switch {
	case u.Fragment != "" || strings.HasSuffix(text, "#"):
		return Source{}, errors.New("the version is written behind an @, not a #")
	case strings.Contains(u.Path, "@"):
		return Source{}, errors.New("the version is an argument of its own")
	case u.Scheme == "file" && (u.Host != "" || u.Path == "" || u.Path == "/"):
		return Source{}, errors.New("want git+file:///FOLDER")
	case u.Scheme != "file" && strings.Trim(u.Path, "/") == "":
		return Source{}, errors.New("it names a host and no repository")
	case u.Scheme == "https" && u.User != nil:
		return Source{}, errors.New("it has a user's name; git's credential helpers know who you are")
	}
	u.Host = strings.ToLower(u.Host)
	s.URL = strings.TrimRight(u.String(), "/")
	return s, nil
}

// insideRepository returns the plain form of a folder's path.
func insideRepository(dir string) (string, error) {
	clean := path.Clean(dir)
	if dir == "" || path.IsAbs(dir) || clean == "." || clean == ".." || strings.HasPrefix(clean, "../") || strings.ContainsAny(dir, "@#?:") {
		return "", fmt.Errorf("dir %q: want a folder inside of the repository", dir)
	}
	return clean, nil
}

func parseOCI(reference string) (Source, error) {
	host, repository, ok := strings.Cut(reference, "/")
	switch {
	case !ok || host == "" || repository == "":
		return Source{}, errors.New("want oci://HOST/REPOSITORY")
	case strings.Contains(host, "@"):
		return Source{}, errors.New("it has a user's name; the credentials of the container tools are used")
	case strings.ContainsAny(repository, ":@"):
		return Source{}, errors.New("the version is an argument of its own")
	case strings.Trim(repository, "abcdefghijklmnopqrstuvwxyz0123456789/._-") != "" || path.Clean(repository) != repository || strings.HasPrefix(repository, "/") || strings.HasPrefix(repository, "."):
		return Source{}, errors.New("want small letters, digits and ._- in the repository's name, with / between them")
	}
	if err := checkHost(host); err != nil {
		return Source{}, err
	}
	return Source{Kind: OCI, URL: strings.ToLower(host) + "/" + repository}, nil
}

func parseArchive(text string) (Source, error) {
	u, err := parseURL(text)
	if err != nil {
		return Source{}, err
	}
	s := Source{Kind: Archive}
	if u.Fragment != "" {
		digest, ok := strings.CutPrefix(u.Fragment, "sha256=")
		if b, err := hex.DecodeString(digest); !ok || err != nil || len(b) != 32 {
			return Source{}, errors.New("want #sha256= and 64 hexadecimal digits")
		}
		s.SHA256 = strings.ToLower(digest)
		u.Fragment, u.RawFragment = "", ""
	}
	switch {
	case u.Scheme == "http" && s.SHA256 == "":
		return Source{}, errors.New("its bytes are not protected on their way: want https://, or #sha256=… behind it")
	case u.User != nil:
		return Source{}, errors.New("it has a user's name: credentials do not belong in a definition")
	case !isArchive(u.Path):
		if strings.HasSuffix(u.Path, ".git") {
			return Source{}, fmt.Errorf("want git+%s for a git repository", text)
		}
		return Source{}, fmt.Errorf("want an archive whose name ends in %s, or git+%s for a git repository", strings.Join(archives[:], ", "), text)
	}
	u.Host = strings.ToLower(u.Host)
	s.URL = u.String()
	return s, nil
}

func isArchive(name string) bool {
	for _, end := range archives {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// parseURL parses a URL of which no part can be taken for an option by git, or by
// the ssh that git starts.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		if e := (*url.Error)(nil); errors.As(err, &e) {
			err = e.Err // without the URL, which may hold a password
		}
		return nil, fmt.Errorf("not a URL: %w", err)
	}
	if _, has := u.User.Password(); has {
		return nil, errors.New("it has a password: credentials do not belong in a definition")
	}
	if strings.HasPrefix(u.User.Username(), "-") || strings.HasPrefix(strings.TrimLeft(u.Path, "/"), "-") {
		return nil, errors.New("what begins with - could be taken for an option")
	}
	if u.Opaque != "" {
		return nil, errForms
	}
	if u.Scheme == "file" {
		if u.Path != "" {
			u.Path, u.RawPath = path.Clean(u.Path), ""
		}
		return u, nil
	}
	for e := range strings.SplitSeq(u.Path, "/") {
		if e == "." || e == ".." {
			return nil, fmt.Errorf("%q in its path: want the path without it", e)
		}
	}
	return u, checkHost(u.Host)
}

// checkHost says what is wrong with HOST or HOST:PORT.
func checkHost(host string) error {
	name := host
	if h, port, err := net.SplitHostPort(host); err == nil {
		if name = h; port == "" || strings.Trim(port, "0123456789") != "" {
			return fmt.Errorf("port %q: want a number", port)
		}
	}
	if strings.HasPrefix(name, "-") {
		return errors.New("what begins with - could be taken for an option")
	}
	letter := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".-_:[]", r)
	}
	if name == "" || strings.TrimFunc(name, letter) != "" {
		return fmt.Errorf("host %q: want a name or an address", name)
	}
	return nil
}

// hidePassword returns a source for messages.
func hidePassword(text string) string {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return text
	}
	host, rest, slash := strings.Cut(rest, "/")
	if i := strings.LastIndex(host, "@"); i >= 0 {
		if user, _, has := strings.Cut(host[:i], ":"); has {
			host = user + ":xxxxx" + host[i:]
		}
	}
	if slash {
		host += "/"
	}
	return scheme + "://" + host + rest
}

// A Digest is that of a module's tree, "sha256:" and 64 hexadecimal digits.
type Digest string

// Check says what is wrong with a digest that was read.
func (d Digest) Check() error {
	digits, ok := strings.CutPrefix(string(d), "sha256:")
	if b, err := hex.DecodeString(digits); !ok || err != nil || len(b) != 32 || strings.ToLower(digits) != digits {
		return fmt.Errorf("digest %q: want \"sha256:\" and 64 hexadecimal digits", string(d))
	}
	return nil
}

// Hex returns the digits of a digest that Check has seen.
func (d Digest) Hex() string { return strings.TrimPrefix(string(d), "sha256:") }
