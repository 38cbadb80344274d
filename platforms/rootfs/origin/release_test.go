package origin

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image/fetch"
)

// A signer has a key of its own.
type signer struct {
	t       testing.TB
	home    string
	keyring string
}

func newSigner(t testing.TB) signer {
	t.Helper()
	need.Tool(t, "gpg", "gpgv")
	home, err := os.MkdirTemp("", "gpg") // a short path, for gpg-agent's socket
	if err != nil {
		t.Fatal(err)
	}
	s := signer{t, home, filepath.Join(home, "keyring.gpg")}
	t.Cleanup(func() {
		exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	s.gpg(nil, "--quick-generate-key", "--passphrase", "", "test@example.com", "ed25519", "sign", "never")
	if err := os.WriteFile(s.keyring, s.gpg(nil, "--export"), 0o644); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s signer) gpg(stdin []byte, args ...string) []byte {
	s.t.Helper()
	cmd := exec.Command("gpg", append([]string{"--homedir", s.home, "--batch", "--quiet", "--pinentry-mode", "loopback"}, args...)...)
	cmd.Stdin = bytes.NewReader(stdin)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("gpg %v: %v\n%s", args, err, errs.String())
	}
	return out
}

func (s signer) release(suite, codename, more string) []byte {
	return s.gpg([]byte(fmt.Sprintf("Origin: Test\nSuite: %s\nCodename: %s\nDate: Sat, 11 Jul 2026 10:16:37 UTC\n%sSHA256:\n 00 1 x\n",
		suite, codename, more)), "--clearsign")
}

// An archiveServer is a Debian archive of release files.
type archiveServer struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string][]byte
	gets  map[string]int
}

func newArchive(t testing.TB) *archiveServer {
	a := &archiveServer{files: make(map[string][]byte), gets: make(map[string]int)}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.gets[r.URL.Path]++
		data, ok := a.files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Write(data)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *archiveServer) set(path string, data []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.files[path] = data
}

func TestPinDebian(t *testing.T) {
	s, a := newSigner(t), newArchive(t)
	a.set("/debian/dists/bookworm/InRelease", s.release("oldstable", "bookworm", ""))
	a.set("/debian/dists/bookworm-updates/InRelease", s.release("oldstable-updates", "bookworm-updates", ""))
	a.set("/security/dists/bookworm-security/InRelease", s.release("oldstable-security", "bookworm-security", ""))
	a.set("/debian/dists/sid/InRelease", s.release("unstable", "sid", ""))
	a.set("/debian/dists/forky/InRelease", s.release("testing", "forky", ""))
	h := newHost(t)
	opts := Options{Debian: "bookworm", Mirror: a.URL + "/debian", SecurityMirror: a.URL + "/security"}
	paths := map[string]string{"keyring": s.keyring}
	o, err := Pin(t.Context(), originOf(t, "debian", opts, paths), h)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Pin.Detail) != 3 || o.Pin.Date != "2026-07-11T10:16:37Z" || !strings.HasPrefix(o.Pin.ID, "sha256:") {
		t.Errorf("pin %+v", o.Pin)
	}
	again, err := Pin(t.Context(), o, h)
	if err != nil || again.Pin.ID != o.Pin.ID || !maps.Equal(again.Pin.Detail, o.Pin.Detail) {
		t.Errorf("pinned again: %+v, %v", again.Pin, err)
	}
	// The archive moves, and the pin follows it.
	a.set("/security/dists/bookworm-security/InRelease", s.release("oldstable-security", "bookworm-security", "Label: new\n"))
	moved, err := Pin(t.Context(), o, h)
	if err != nil || moved.Pin.ID == o.Pin.ID {
		t.Errorf("the archive moved: %+v, %v", moved.Pin, err)
	}
	// What was pinned first is still in the cache.
	cache, err := h.CacheDir("debian")
	if err != nil {
		t.Fatal(err)
	}
	if files, err := pinnedReleases(cache, o.Pin); err != nil || len(files) != 3 {
		t.Errorf("cached: %d files, %v", len(files), err)
	}
	for _, suite := range []string{"sid", "forky"} {
		opts.Debian = suite
		o, err := Pin(t.Context(), originOf(t, "debian", opts, paths), h)
		if err != nil || len(o.Pin.Detail) != 1 {
			t.Errorf("%s: %+v, %v", suite, o.Pin, err)
		}
	}
}

func TestPinDebianOffline(t *testing.T) {
	s, a := newSigner(t), newArchive(t)
	a.set("/debian/dists/sid/InRelease", s.release("unstable", "sid", ""))
	h := newHost(t)
	opts := Options{Debian: "sid", Mirror: a.URL + "/debian"}
	o, err := Pin(t.Context(), originOf(t, "debian", opts, map[string]string{"keyring": s.keyring}), h)
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
	again, err := Pin(t.Context(), o, h)
	if err != nil || again.Pin != o.Pin {
		t.Errorf("without a network: %+v, %v", again.Pin, err)
	}
	o.Pin = nil
	if _, err := Pin(t.Context(), o, h); !errors.Is(err, errUnreachable) {
		t.Errorf("without a network and a pin: %v", err)
	}
}

func TestPinDebianRefuses(t *testing.T) {
	s, stranger, a := newSigner(t), newSigner(t), newArchive(t)
	good := s.release("unstable", "sid", "")
	for _, c := range []struct {
		name    string
		suite   string
		data    []byte
		keyring string
		want    string
	}{
		{"altered", "sid", bytes.Replace(good, []byte("Origin: Test"), []byte("Origin: Evil"), 1), s.keyring, "tampered"},
		{"other key", "sid", stranger.release("unstable", "sid", ""), s.keyring, "none of a key in"},
		{"unsigned", "sid", []byte("Suite: unstable\nDate: x\n"), s.keyring, "verify signature"},
		{"empty", "sid", nil, s.keyring, "verify signature"},
		{"other suite", "experimental", good, s.keyring, "is the release file of unstable (sid)"},
		{"no keyring", "sid", good, filepath.Join(s.home, "none.gpg"), "keyring"},
		{"out of date", "sid", s.release("unstable", "sid", "Valid-Until: Sun, 12 Jul 2026 10:16:37 UTC\n"), s.keyring, "out of date since 2026-07-12"},
		{"no date", "sid", s.gpg([]byte("Suite: unstable\n"), "--clearsign"), s.keyring, "no suite or no date"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a.set("/debian/dists/"+c.suite+"/InRelease", c.data)
			p := pinner{client: fetch.NewClient(), keyring: c.keyring, cache: t.TempDir(), checkDates: true,
				now: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
			p.client.Pause = time.Millisecond
			_, err := p.pin(t.Context(), []part{{a.URL + "/debian", c.suite}})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if left, _ := os.ReadDir(filepath.Join(p.cache, "release")); len(left) > 0 {
				t.Errorf("cached what was refused: %v", left)
			}
		})
	}
}

func TestUnknownSuite(t *testing.T) {
	s, a := newSigner(t), newArchive(t)
	o := originOf(t, "debian", Options{Debian: "bokworm", Mirror: a.URL + "/debian"}, map[string]string{"keyring": s.keyring})
	_, err := Pin(t.Context(), o, newHost(t))
	if err == nil || !strings.Contains(err.Error(), "has no suite bokworm") {
		t.Errorf("got %v", err)
	}
}

func TestPinnedReleasesDamaged(t *testing.T) {
	cache := t.TempDir()
	digest := hexDigest([]byte("good"))
	pin := &platforms.Pin{Detail: map[string]string{"sid": "http://m/debian sha256:" + digest}}
	if _, err := pinnedReleases(cache, pin); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if err := writeFileAtomic(releaseFile(cache, digest), []byte("bad")); err != nil {
		t.Fatal(err)
	}
	if _, err := pinnedReleases(cache, pin); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("damaged: %v", err)
	}
	if _, err := pinnedReleases(cache, pin); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a damaged file was kept: %v", err)
	}
}

func FuzzParseRelease(f *testing.F) {
	f.Add([]byte("Suite: stable\nCodename: x\nDate: Sat, 11 Jul 2026 10:16:37 UTC\nSHA256:\n 00 1 x\n"))
	f.Add([]byte("Date:\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseRelease(data)
		if err == nil && (r.date.IsZero() || r.suite+r.codename == "") {
			t.Errorf("%q: %+v", data, r)
		}
	})
}

// Ubuntu has updates from the first day, and its keys in a package that Debian
// does not have.
func TestPinUbuntu(t *testing.T) {
	s, a := newSigner(t), newArchive(t)
	for _, suite := range []string{"noble", "noble-updates", "noble-security"} {
		a.set("/ubuntu/dists/"+suite+"/InRelease", s.release(suite, "noble", ""))
	}
	h := newHost(t)
	opts := Options{Ubuntu: "noble", Mirror: a.URL + "/ubuntu", SecurityMirror: a.URL + "/ubuntu"}
	o, err := Pin(t.Context(), originOf(t, "ubuntu", opts, map[string]string{"keyring": s.keyring}), h)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Pin.Detail) != 3 || PinName(o) != "ubuntu noble "+a.URL+"/ubuntu "+a.URL+"/ubuntu" {
		t.Errorf("pin %+v, named %q", o.Pin, PinName(o))
	}
	opts.Keyring = filepath.Join(t.TempDir(), "none.gpg")
	_, err = Pin(t.Context(), originOf(t, "ubuntu", opts, nil), h)
	if err == nil || !strings.Contains(err.Error(), "ubuntu noble: the keyring "+opts.Keyring+" is missing") {
		t.Errorf("without keys: %v", err)
	}
}
