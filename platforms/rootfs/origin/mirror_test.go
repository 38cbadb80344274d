package origin

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bake.build/bake/platforms/image/fetch"
)

// through asks the mirror for a URL as apt does.
func through(t *testing.T, m *mirror, target string) (int, string) {
	t.Helper()
	proxy, err := url.Parse(m.url)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{Proxy: http.ProxyURL(proxy)}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get(target)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(data)
}

func openTestMirror(t *testing.T, cache string, parts []part, releases map[string][]byte) *mirror {
	t.Helper()
	c := fetch.NewClient()
	c.Pause = time.Millisecond
	m, err := openMirror(t.Context(), c, cache, parts, releases, new(testLogger))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.close(); c.Close() })
	return m
}

func TestMirror(t *testing.T) {
	a := newArchive(t)
	a.set("/debian/pool/x.deb", []byte("package"))
	a.set("/debian/dists/sid/main/by-hash/SHA256/00", []byte("index"))
	a.set("/debian/dists/sid/InRelease", []byte("moved on"))
	a.set("/debian/dists/sid/main/other", []byte("other"))
	a.set("/secret", []byte("secret"))
	cache := t.TempDir()
	parts := []part{{a.URL + "/debian", "sid"}}
	m := openTestMirror(t, cache, parts, map[string][]byte{parts[0].release(): []byte("pinned")})
	for _, c := range []struct {
		path string
		code int
		want string
	}{
		{"/debian/dists/sid/InRelease", 200, "pinned"},
		{"/debian/pool/x.deb", 200, "package"},
		{"/debian/pool/x.deb", 200, "package"},
		{"/debian/dists/sid/main/by-hash/SHA256/00", 200, "index"},
		{"/debian/dists/sid/main/other", 200, "other"},
		{"/debian/dists/sid/main/other", 200, "other"},
		{"/debian/pool/none.deb", 404, ""},
		{"/secret", 403, ""},
		{"/debian/../secret", 403, ""},
		{"/debian/%2e%2e/secret", 404, ""},
	} {
		code, got := through(t, m, a.URL+c.path)
		if code != c.code || c.want != "" && got != c.want {
			t.Errorf("%s: %d %q, want %d %q", c.path, code, got, c.code, c.want)
		}
	}
	if n := a.gets["/debian/pool/x.deb"]; n != 1 {
		t.Errorf("downloaded %d times", n)
	}
	if a.gets["/secret"] != 0 || a.gets["/debian/dists/sid/InRelease"] != 0 {
		t.Errorf("asked the archive for %v", a.gets)
	}
	// A damaged file is not used.
	found, err := filepath.Glob(filepath.Join(cache, "files", m.prefix(a.URL+"/debian/pool/x.deb")+"*"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	if err := os.WriteFile(found[0], []byte("pbckage"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, got := through(t, m, a.URL+"/debian/pool/x.deb"); got != "package" {
		t.Errorf("a damaged file was used: %q", got)
	}
	// What apt does not believe is forgotten.
	if err := m.distrust(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(filepath.Join(cache, "files")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestMirrorBrokenDownload breaks the connection twice: the download goes on
// where it broke off, and neither the client nor the cache sees it.
func TestMirrorBrokenDownload(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 50_000)
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := asked.Add(1)
		if n > 2 {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
			return
		}
		from := 0
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		w.Header().Set("Content-Length", fmt.Sprint(len(content)-from))
		if from > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		w.Write(content[from : from+100_000])
		panic(http.ErrAbortHandler)
	}))
	defer s.Close()
	m := openTestMirror(t, t.TempDir(), []part{{s.URL + "/debian", "sid"}}, nil)
	for range 2 {
		if code, got := through(t, m, s.URL+"/debian/x.deb"); code != 200 || got != string(content) {
			t.Errorf("%d, %d bytes", code, len(got))
		}
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("asked %d times", n)
	}
}

func TestMirrorPrefetch(t *testing.T) {
	a := newArchive(t)
	var urls []string
	for i := range 20 {
		p := fmt.Sprintf("/debian/p%d.deb", i)
		a.set(p, []byte(p))
		urls = append(urls, a.URL+p)
	}
	m := openTestMirror(t, t.TempDir(), []part{{a.URL + "/debian", "sid"}}, nil)
	var wg sync.WaitGroup
	wg.Go(func() { m.prefetch(t.Context(), append(urls, "http://elsewhere.example/x.deb")) })
	for _, u := range urls {
		wg.Go(func() {
			if _, got := through(t, m, u); !strings.HasSuffix(u, got) || got == "" {
				t.Errorf("%s: got %q", u, got)
			}
		})
	}
	wg.Wait()
	for p, n := range a.gets {
		if n != 1 {
			t.Errorf("%s was downloaded %d times", p, n)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m.prefetch(ctx, urls) // returns
}

func TestDownloadGivesUp(t *testing.T) {
	var asked atomic.Int32
	code := http.StatusServiceUnavailable
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.Error(w, "no", code)
	}))
	defer s.Close()
	c := fetch.NewClient()
	defer c.Close()
	c.Pause = time.Millisecond
	for _, want := range []struct {
		code  int
		tries int32
	}{{503, 4}, {404, 1}} {
		code = want.code
		asked.Store(0)
		address := strings.Replace(s.URL, "http://", "http://user:s3cret@", 1)
		err := c.Download(t.Context(), address, io.Discard, func() error { return nil }, nil)
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the error holds the password: %v", err)
		}
		if err == nil || !strings.Contains(err.Error(), fmt.Sprint(want.code)) || asked.Load() != want.tries {
			t.Errorf("%d: %v after %d tries", want.code, err, asked.Load())
		}
	}
}

// TestBrokenDownload breaks every download off: the password stays untold.
func TestBrokenDownload(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "short")
	}))
	defer s.Close()
	c := fetch.NewClient()
	defer c.Close()
	c.Pause, c.Retries = time.Millisecond, 1
	address := strings.Replace(s.URL, "http://", "http://user:s3cret@", 1)
	err := c.Download(t.Context(), address, io.Discard, func() error { return nil }, nil)
	if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "user") {
		t.Errorf("got %v", err)
	}
}

func TestPrune(t *testing.T) {
	dir := t.TempDir()
	old, now := time.Now().Add(-48*time.Hour), time.Now()
	for name, at := range map[string]time.Time{"old": old, "new": now, fetch.TempPrefix + "dead": old, fetch.TempPrefix + "alive": now} {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(p, at, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := fetch.Prune(dir, now.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 || left[0].Name() != fetch.TempPrefix+"alive" || left[1].Name() != "new" {
		t.Errorf("left %v, %v", left, err)
	}
	if err := fetch.Prune(filepath.Join(dir, "none"), now); err != nil {
		t.Error(err)
	}
}

// TestMirrorCloseWaits closes a mirror that is in the middle of a download:
// nothing of it is left.
func TestMirrorCloseWaits(t *testing.T) {
	begun := make(chan struct{}, 2)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "some")
		w.(http.Flusher).Flush()
		begun <- struct{}{}
		<-r.Context().Done()
	}))
	defer s.Close()
	cache := t.TempDir()
	c := fetch.NewClient()
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	m, err := openMirror(ctx, c, cache, []part{{s.URL, "x"}}, nil, new(testLogger))
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		through(t, m, s.URL+"/pool/a.deb")
	}()
	fetched := make(chan struct{})
	go func() {
		defer close(fetched)
		m.prefetch(ctx, []string{s.URL + "/pool/b.deb"})
	}()
	<-begun
	<-begun
	cancel()
	<-fetched
	if err := m.close(); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(filepath.Join(cache, "files"))
	if err != nil || len(left) > 0 {
		t.Errorf("left after close: %v, %v", left, err)
	}
	<-asked
}
