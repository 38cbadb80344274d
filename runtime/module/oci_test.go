package module

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	gcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"bake.build/bake/internal/need"
	"bake.build/bake/starlark/module"
)

// A registry is go-containerregistry's own, with faults.
type registry struct {
	t       *testing.T
	address string
	latency atomic.Int64 // of each request, in nanoseconds
	cut     atomic.Int64 // how many answers with blobs break off in their middle
	blobs   atomic.Int64 // blobs that were asked for
	busy    atomic.Int64 // requests that are being answered
	busiest atomic.Int64 // the most that were at once
}

func newRegistry(t *testing.T) *registry {
	t.Helper()
	r := &registry{t: t}
	inner := gcr.New(gcr.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		for n := r.busy.Add(1); n > r.busiest.Load(); {
			r.busiest.Store(n)
		}
		defer r.busy.Add(-1)
		time.Sleep(time.Duration(r.latency.Load()))
		if req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/blobs/") {
			r.blobs.Add(1)
			if r.cut.Add(-1) >= 0 {
				w = &cutWriter{w, 100}
			}
		}
		inner.ServeHTTP(w, req)
	}))
	t.Cleanup(server.Close)
	r.address = strings.TrimPrefix(server.URL, "http://")
	return r
}

// A cutWriter breaks the connection after some bytes.
type cutWriter struct {
	http.ResponseWriter
	left int
}

// Write implements io.Writer.
func (c *cutWriter) Write(p []byte) (int, error) {
	n := min(c.left, len(p))
	c.left -= n
	if _, err := c.ResponseWriter.Write(p[:n]); err != nil {
		return 0, err
	}
	if n < len(p) {
		if err := http.NewResponseController(c.ResponseWriter).Flush(); err != nil {
			return 0, err
		}
		panic(http.ErrAbortHandler)
	}
	return n, nil
}

func (r *registry) source(repository string) module.Source {
	return parse(r.t, "oci://"+r.address+"/"+repository)
}

// publish pushes files as a version.
func (r *registry) publish(repository, version string, files map[string]string) Publication {
	r.t.Helper()
	p, err := newFetcher(r.t).Publish(r.t.Context(), writeDir(r.t, r.t.TempDir(), files), "acme.example/"+repository, r.source(repository), version)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// hasty makes a fetcher that does not pause between tries.
func hasty(f *Fetcher) *Fetcher {
	f.once.Do(f.begin)
	f.client.Pause = time.Millisecond
	return f
}

// TestPublish publishes a module and fetches it; the bytes follow from the files.
func TestPublish(t *testing.T) {
	r := newRegistry(t)
	first := r.publish("golden", "v1.0.0", golden)
	again := r.publish("golden", "v1.0.0", golden)
	if first.Existed || !again.Existed || again.Reference != first.Reference {
		t.Errorf("published %+v, then %+v", first, again)
	}
	other := map[string]string{"bake.mod": "x"}
	_, err := newFetcher(t).Publish(t.Context(), writeDir(t, t.TempDir(), other), "acme.example/golden", r.source("golden"), "v1.0.0")
	if err == nil || !strings.Contains(err.Error(), "published already, with other files") {
		t.Errorf("another module as the same version: %v", err)
	}
	want := digestOfDir(t, writeDir(t, t.TempDir(), golden))
	f := newFetcher(t)
	_, digest, _ := strings.Cut(first.Reference, "@")
	for _, version := range []string{"v1.0.0", digest} {
		if got, err := f.Fetch(t.Context(), r.source("golden"), version, ""); err != nil || got.Digest != want || first.Digest != want {
			t.Errorf("Fetch %s = %+v, %v; want %s", version, got, err, want)
		}
	}
	r.publish("golden", "v1.1.0-rc.1", golden)
	got, err := f.Versions(t.Context(), r.source("golden"))
	if slices.Sort(got); err != nil || !slices.Equal(got, []string{"v1.0.0", "v1.1.0-rc.1"}) {
		t.Errorf("Versions = %q, %v", got, err)
	}
	for version, want := range map[string]string{"v3.0.0": "there are v1.0.0, v1.1.0-rc.1", "-x": "not the name of a tag", "../x": "not the name of a tag"} {
		if _, err := f.Fetch(t.Context(), r.source("golden"), version, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("version %q: %v; want %q", version, err, want)
		}
	}
	if n := r.blobs.Load(); n != 1 {
		t.Errorf("%d layers were downloaded of one module", n)
	}
}

// TestMovedTagInRegistry moves a tag to another module, as any client can but bake.
func TestMovedTagInRegistry(t *testing.T) {
	r := newRegistry(t)
	locked := r.publish("golden", "v1.0.0", golden)
	moved := r.publish("golden", "v9.9.9", map[string]string{"bake.mod": "evil"})
	repo, err := name.NewRepository(r.address + "/golden")
	if err != nil {
		t.Fatal(err)
	}
	desc, err := remote.Get(repo.Tag("v9.9.9"))
	if err == nil {
		err = remote.Tag(repo.Tag("v1.0.0"), desc)
	}
	if err != nil {
		t.Fatal(err)
	}
	f := newFetcher(t)
	m := (*MismatchError)(nil)
	if _, err := f.Fetch(t.Context(), r.source("golden"), "v1.0.0", locked.Digest); !errors.As(err, &m) || m.Got != moved.Digest {
		t.Errorf("error %v, want a MismatchError", err)
	}
	nothingKept(t, f)
}

// TestPublishedFiles publishes from a git work tree: not what git ignores.
func TestPublishedFiles(t *testing.T) {
	f := newForge(t)
	f.commit("golden", golden)
	dir := filepath.Join(f.root, "golden")
	writeDir(t, dir, map[string]string{".gitignore": ".env\n", ".env": "SECRET=1", "new.star": "", "new*": ""})
	if err := os.Remove(filepath.Join(dir, "golden.star")); err != nil {
		t.Fatal(err)
	}
	files, err := publishedFiles(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, file := range files {
		got = append(got, file.Path)
	}
	want := []string{".gitignore", "bake.mod", "files/etc/issue", "files/etc/motd", "files/name with ü.md", "files/run.sh", "lib-b/a.star", "lib/a.star", "new", "new.star"}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	f.git("golden", "add", "new")
	changed, err := uncommitted(t.Context(), dir)
	if want := []string{".gitignore", "golden.star", "new", "new.star"}; err != nil || !slices.Equal(changed, want) {
		t.Errorf("uncommitted %q, %v, want %q", changed, err, want)
	}
	f.git("golden", "add", "-A")
	f.git("golden", "commit", "-q", "-m", "all")
	if changed, err := uncommitted(t.Context(), dir); err != nil || len(changed) > 0 {
		t.Errorf("uncommitted %q, %v, want none", changed, err)
	}
	if changed, err := uncommitted(t.Context(), t.TempDir()); err != nil || len(changed) > 0 {
		t.Errorf("where no git is: %q, %v", changed, err)
	}
}

// TestRegistryDown breaks downloads off.
func TestRegistryDown(t *testing.T) {
	r := newRegistry(t)
	p := r.publish("golden", "v1.0.0", golden)
	r.cut.Store(2)
	if got, err := hasty(newFetcher(t)).Fetch(t.Context(), r.source("golden"), "v1.0.0", p.Digest); err != nil || got.Digest != p.Digest {
		t.Errorf("Fetch with two broken connections = %+v, %v", got, err)
	}
	r.cut.Store(1000)
	f := hasty(newFetcher(t))
	if got, err := f.Fetch(t.Context(), r.source("golden"), "v1.0.0", p.Digest); err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("Fetch of a registry that is down = %+v, %v", got, err)
	}
	nothingKept(t, f)
	r.cut.Store(0)
	if got, err := f.Fetch(t.Context(), r.source("golden"), "v1.0.0", p.Digest); err != nil || got.Digest != p.Digest {
		t.Errorf("Fetch once it is up again = %+v, %v", got, err)
	}
}

// TestArchiveServerDown breaks downloads of an archive off: they go on where they were.
func TestArchiveServerDown(t *testing.T) {
	b := tarOf(t, "", golden)
	var mu sync.Mutex // of what follows
	var ranges []string
	cut := true
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		ranges = append(ranges, r.Header.Get("Range"))
		if cut {
			w = &cutWriter{w, 1000}
		}
		http.ServeContent(w, r, "", time.Unix(1e9, 0), bytes.NewReader(b))
	}))
	defer server.Close()
	src := archiveAt(t, server.URL+"/golden.tar", b)
	f := hasty(newFetcher(t))
	_, err := f.Fetch(t.Context(), src, "v1.0.0", "")
	mu.Lock()
	if err == nil || len(ranges) != 4 || ranges[1] != "bytes=1000-" {
		t.Errorf("error %v after the requests %q", err, ranges)
	}
	mu.Unlock()
	nothingKept(t, f)
	mu.Lock()
	cut = false
	mu.Unlock()
	if _, err := f.Fetch(t.Context(), src, "v1.0.0", ""); err != nil {
		t.Error(err)
	}
}

// TestTampered has a registry that gives other bytes than the manifest says.
func TestTampered(t *testing.T) {
	r := newRegistry(t)
	p := r.publish("golden", "v1.0.0", golden)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		resp, err := http.Get("http://" + r.address + req.URL.Path)
		if err != nil {
			panic(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			panic(err)
		}
		if strings.Contains(req.URL.Path, "/blobs/") {
			b[len(b)/2] ^= 1
		}
		w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
		w.WriteHeader(resp.StatusCode)
		if _, err := w.Write(b); err != nil {
			panic(err)
		}
	}))
	defer server.Close()
	f := hasty(newFetcher(t))
	_, err := f.Fetch(t.Context(), parse(t, "oci://"+strings.TrimPrefix(server.URL, "http://")+"/golden"), "v1.0.0", p.Digest)
	if err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("error %v, want one of the checksum", err)
	}
	nothingKept(t, f)
}

// TestManyAtOnce fetches 100 modules from a registry that answers after 20 ms. Were
// they fetched one after the other, its three requests for each would take 6 s.
func TestManyAtOnce(t *testing.T) {
	const modules = 100
	r := newRegistry(t)
	digests := make([]module.Digest, modules)
	for i := range modules {
		digests[i] = r.publish(fmt.Sprintf("m%d", i), "v1.0.0", map[string]string{"bake.mod": fmt.Sprintf("module(\"acme.example/m%d\")\n", i)}).Digest
	}
	r.latency.Store(int64(20 * time.Millisecond))
	f := newFetcher(t)
	begin := time.Now()
	var all sync.WaitGroup
	for i := range modules {
		for range 2 { // each is asked for twice
			all.Go(func() {
				got, err := f.Fetch(t.Context(), r.source(fmt.Sprintf("m%d", i)), "v1.0.0", digests[i])
				if err != nil || got.Digest != digests[i] {
					t.Errorf("module %d: %+v, %v", i, got, err)
				}
			})
		}
	}
	all.Wait()
	t.Logf("%d modules in %v, up to %d requests at once", modules, time.Since(begin), r.busiest.Load())
	if n := r.busiest.Load(); n < 10 {
		t.Errorf("at most %d requests at once", n)
	}
	if n := r.blobs.Load(); n != modules {
		t.Errorf("%d layers were downloaded", n)
	}
}

// TestSkopeo has skopeo look at what was published, copy it, and push what umoci made.
func TestSkopeo(t *testing.T) {
	need.Tool(t, "skopeo", "umoci", "tar")
	r := newRegistry(t)
	p := r.publish("golden", "v1.0.0", golden)
	raw := run(t, "skopeo", "inspect", "--raw", "--tls-verify=false", "docker://"+r.address+"/golden:v1.0.0")
	var m struct {
		ArtifactType string
		Config       struct{ MediaType string }
		Annotations  map[string]string
		Layers       []struct{ MediaType, Digest string }
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	if sum := fmt.Sprintf("sha256:%x", sha256.Sum256(raw)); !strings.HasSuffix(p.Reference, sum) || m.ArtifactType != artifactType || m.Annotations[digestLabel] != string(p.Digest) || len(m.Layers) != 1 {
		t.Errorf("skopeo sees %s, %s", sum, raw)
	}
	dir := t.TempDir()
	run(t, "skopeo", "copy", "--src-tls-verify=false", "docker://"+r.address+"/golden:v1.0.0", "dir:"+dir+"/copy")
	if err := os.Mkdir(dir+"/tree", 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "tar", "-C", dir+"/tree", "-xf", dir+"/copy/"+strings.TrimPrefix(m.Layers[0].Digest, "sha256:"))
	if got := digestOfDir(t, dir+"/tree"); got != p.Digest {
		t.Errorf("what tar unpacks has the digest %s, want %s", got, p.Digest)
	}

	run(t, "umoci", "init", "--layout", dir+"/layout")
	run(t, "umoci", "new", "--image", dir+"/layout:v1.0.0")
	run(t, "umoci", "insert", "--image", dir+"/layout:v1.0.0", dir+"/tree", "/golden")
	run(t, "skopeo", "copy", "--dest-tls-verify=false", "oci:"+dir+"/layout:v1.0.0", "docker://"+r.address+"/umoci:v1.0.0")
	if got, err := newFetcher(t).Fetch(t.Context(), r.source("umoci"), "v1.0.0", ""); err != nil || got.Digest != p.Digest {
		t.Errorf("what umoci made: %+v, %v; want %s", got, err, p.Digest)
	}
}

func run(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, stderr.String())
	}
	return out
}

// TestCredentials logs in with what docker login has written.
func TestCredentials(t *testing.T) {
	r := newRegistry(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if user, password, _ := req.BasicAuth(); user != "me" || password != "hunter2" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		out, err := http.NewRequestWithContext(req.Context(), req.Method, "http://"+r.address+req.URL.String(), req.Body)
		if err != nil {
			panic(err)
		}
		resp, err := http.DefaultClient.Do(out)
		if err != nil {
			panic(err)
		}
		defer resp.Body.Close()
		for k, v := range resp.Header {
			w.Header()[k] = v
		}
		w.WriteHeader(resp.StatusCode)
		if _, err := io.Copy(w, resp.Body); err != nil {
			panic(err)
		}
	}))
	defer server.Close()
	p := r.publish("golden", "v1.0.0", golden)
	host := strings.TrimPrefix(server.URL, "http://")
	src := parse(t, "oci://"+host+"/golden")
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	if _, err := hasty(newFetcher(t)).Fetch(t.Context(), src, "v1.0.0", ""); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("without a login: %v", err)
	}
	config := fmt.Sprintf(`{"auths": {%q: {"username": "me", "password": "hunter2"}}}`, host)
	if err := os.WriteFile(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := newFetcher(t).Fetch(t.Context(), src, "v1.0.0", ""); err != nil || got.Digest != p.Digest {
		t.Errorf("Fetch = %+v, %v", got, err)
	}
}

// TestCancelled gives up while a download hangs.
func TestCancelled(t *testing.T) {
	release := make(chan struct{})
	asked := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-release
	}))
	defer server.Close()
	defer close(release)
	f := newFetcher(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if _, err := f.Fetch(ctx, archiveAt(t, server.URL+"/a.tar", nil), "v1.0.0", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that it was cancelled", err)
	}
	nothingKept(t, f)
}

// TestEndlessRegistry has a registry that sends a layer, and then a list of tags, for as
// long as somebody takes them.
func TestEndlessRegistry(t *testing.T) {
	r := newRegistry(t)
	p := r.publish("golden", "v1.0.0", golden)
	var sent, pages atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch {
		case strings.Contains(req.URL.Path, "/blobs/"):
			for b := make([]byte, 64<<10); ; sent.Add(int64(len(b))) {
				if _, err := w.Write(b); err != nil {
					return
				}
			}
		case strings.HasSuffix(req.URL.Path, "/tags/list"):
			n := pages.Add(1)
			w.Header().Set("Link", fmt.Sprintf("</v2/golden/tags/list?last=%d>; rel=next", n))
			fmt.Fprintf(w, `{"name": "golden", "tags": [%s"v1.0.%d"]}`, strings.Repeat(`"x", `, 1000), n)
		default:
			(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(&url.URL{Scheme: "http", Host: r.address}) }}).ServeHTTP(w, req)
		}
	}))
	defer server.Close()
	src := parse(t, "oci://"+strings.TrimPrefix(server.URL, "http://")+"/golden")
	f := hasty(newFetcher(t))
	if _, err := f.Fetch(t.Context(), src, "v1.0.0", p.Digest); err == nil || !strings.Contains(err.Error(), "bytes that its manifest says") {
		t.Errorf("Fetch of an endless layer = %v", err)
	}
	if n := sent.Load(); n > 64<<20 {
		t.Errorf("%d bytes were sent", n)
	}
	nothingKept(t, f)
	if _, err := f.Versions(t.Context(), src); err == nil || !strings.Contains(err.Error(), "more tags than any module") {
		t.Errorf("Versions = %v, want that there are too many, after %d pages", err, pages.Load())
	}
}

// TestSilentRegistry has servers that stop in the middle of an answer and say nothing
// more: they are left.
func TestSilentRegistry(t *testing.T) {
	r := newRegistry(t)
	p := r.publish("golden", "v1.0.0", golden)
	b := tarOf(t, "", golden)
	var silent atomic.Int64
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if isArchive := strings.HasSuffix(req.URL.Path, ".tar"); isArchive || strings.Contains(req.URL.Path, "/blobs/") {
			if silent.Add(-1) >= 0 {
				w.Header().Set("Content-Length", "100000")
				if err := http.NewResponseController(w).Flush(); err != nil {
					t.Error(err)
				}
				select {
				case <-release:
				case <-req.Context().Done():
				}
				return
			}
			if isArchive {
				http.ServeContent(w, req, "", time.Unix(1e9, 0), bytes.NewReader(b))
				return
			}
		}
		(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(&url.URL{Scheme: "http", Host: r.address}) }}).ServeHTTP(w, req)
	}))
	defer server.Close()
	defer close(release)
	for _, src := range []module.Source{parse(t, "oci://"+strings.TrimPrefix(server.URL, "http://")+"/golden"), archiveAt(t, server.URL+"/a.tar", b)} {
		silent.Store(2)
		f := hasty(newFetcher(t))
		f.client.Stall = 50 * time.Millisecond
		if got, err := f.Fetch(t.Context(), src, "v1.0.0", p.Digest); err != nil || silent.Load() >= 0 {
			t.Errorf("Fetch from %s = %+v, %v", src, got, err)
		}
	}
}
