package origin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image/fetch"
)

// A mirror is a caching HTTP proxy on the loopback for the archives of one
// import. It answers for release files with those that were pinned, so that
// what apt installs is what was pinned even when the archive moves meanwhile,
// and keeps indices and packages, whose names never get another content. apt
// checks what it gets as if it came from the archive itself.
//
// apt speaks to it in plain HTTP, whatever the archive's own scheme is.
type mirror struct {
	ctx      context.Context
	client   *fetch.Client
	dir      string // of the cached files
	parts    []part
	releases map[string][]byte // by URL
	out      platforms.Logger

	server  *http.Server
	url     string
	serving sync.WaitGroup // the listener and its connections

	mu       sync.Mutex
	busy     map[string]chan struct{} // URLs being downloaded, until closed
	used     map[string]bool          // names of cached files that this import used
	received int64                    // bytes downloaded
}

// openMirror starts the proxy. It ends with ctx or by close.
func openMirror(ctx context.Context, c *fetch.Client, cache string, parts []part, releases map[string][]byte, out platforms.Logger) (*mirror, error) {
	m := &mirror{
		ctx: ctx, client: c, dir: filepath.Join(cache, "files"), parts: parts, releases: releases, out: out,
		busy: make(map[string]chan struct{}), used: make(map[string]bool),
	}
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open mirror: %w", err)
	}
	m.url = "http://" + l.Addr().String()
	m.server = &http.Server{
		Handler:           m,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0), // broken connections, which apt reports itself
		ConnState:         m.connState,
	}
	m.serving.Go(func() { m.server.Serve(l) }) // returns when the server is closed
	return m, nil
}

func (m *mirror) connState(_ net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		m.serving.Add(1)
	case http.StateClosed:
		m.serving.Done()
	}
}

// close ends the proxy and waits for what it still does. The context that it
// was opened with has ended, or soon will.
func (m *mirror) close() error {
	err := m.server.Close()
	m.serving.Wait()
	return err
}

// upstream returns the address to ask for what apt asks for at url, or "" when
// it belongs to none of the archives.
func (m *mirror) upstream(url string) string {
	for _, p := range m.parts {
		scheme, rest, _ := strings.Cut(p.uri, "://")
		if below, ok := strings.CutPrefix(url, "http://"+rest+"/"); ok && path.Clean("/"+below) == "/"+below {
			return scheme + "://" + rest + "/" + below
		}
	}
	return ""
}

// ServeHTTP answers one request of apt.
func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	url := m.upstream("http://" + r.URL.Host + r.URL.EscapedPath())
	if url == "" || r.Method != http.MethodGet {
		http.Error(w, "not one of the archives of this import", http.StatusForbidden)
		return
	}
	if data, ok := m.releases[url]; ok {
		w.Write(data)
		return
	}
	if !immutable(url) {
		m.pass(w, r, url)
		return
	}
	f, err := m.file(r.Context(), url, w)
	if err != nil {
		code := http.StatusBadGateway
		if status := (*fetch.StatusError)(nil); errors.As(err, &status) {
			code = status.Code
		}
		http.Error(w, err.Error(), code)
		return
	}
	if f == nil {
		return // was written while it was downloaded
	}
	defer f.Close()
	http.ServeContent(w, r, "", time.Time{}, f)
}

// immutable reports whether the content at url never changes: packages, which
// have their version in their name, and indices by their hash.
func immutable(url string) bool {
	return strings.HasSuffix(url, ".deb") || strings.Contains(url, "/by-hash/")
}

// pass hands on what is not kept.
func (m *mirror) pass(w http.ResponseWriter, r *http.Request, url string) {
	body, _, size, err := m.client.Get(r.Context(), url, 0)
	if err != nil {
		code := http.StatusBadGateway
		if status := (*fetch.StatusError)(nil); errors.As(err, &status) {
			code = status.Code
		}
		http.Error(w, err.Error(), code)
		return
	}
	defer body.Close()
	if size >= 0 {
		w.Header().Set("Content-Length", fmt.Sprint(size))
	}
	io.Copy(w, body) // apt sees a short answer
}

// file returns the cached content of url, downloading it when it is missing.
// While it downloads it writes to w too, if w is not nil, and returns no file.
func (m *mirror) file(ctx context.Context, url string, w http.ResponseWriter) (*os.File, error) {
	if err := m.take(ctx, url); err != nil {
		return nil, err
	}
	defer m.release(url)
	if f, err := m.cached(url); f != nil || err != nil {
		return f, err
	}
	return nil, m.fill(url, w)
}

// take waits for the turn to look for url and to download it.
func (m *mirror) take(ctx context.Context, url string) error {
	for {
		m.mu.Lock()
		wait, busy := m.busy[url]
		if !busy {
			m.busy[url] = make(chan struct{})
		}
		m.mu.Unlock()
		if !busy {
			return nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *mirror) release(url string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.busy[url])
	delete(m.busy, url)
}

// The name of a cached file is the hash of its URL and that of its content.
func (m *mirror) prefix(url string) string { return hexDigest([]byte(url))[:32] + "-" }

// cached returns the file of url if it is there and whole.
func (m *mirror) cached(url string) (*os.File, error) {
	found, err := filepath.Glob(filepath.Join(m.dir, m.prefix(url)+"*"))
	if err != nil {
		return nil, err
	}
	for _, name := range found {
		f, err := os.Open(name)
		if err != nil {
			continue // removed by another process
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		if err == nil && strings.HasSuffix(name, "-"+hex.EncodeToString(h.Sum(nil))) {
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				return nil, errors.Join(err, f.Close())
			}
			now := time.Now() // the time of its last use: see fetch.Prune
			m.use(name)
			return f, os.Chtimes(name, now, now)
		}
		if err := errors.Join(f.Close(), os.Remove(name)); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (m *mirror) use(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used[name] = true
}

// fill downloads url to the cache and, while it comes, to w.
func (m *mirror) fill(url string, w http.ResponseWriter) (err error) {
	f, err := os.CreateTemp(m.dir, fetch.TempPrefix)
	if err != nil {
		return err
	}
	t := &tee{file: f, hash: sha256.New(), client: w}
	var before int64
	// The download goes on when apt hangs up: the next build needs it.
	err = m.client.Download(m.ctx, url, t, t.restart, func(done, total int64) {
		if w != nil && before == 0 && total > 0 {
			w.Header().Set("Content-Length", fmt.Sprint(total))
		}
		m.count(done - before)
		before = done
	})
	if err = errors.Join(err, f.Close()); err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
		if t.started {
			panic(http.ErrAbortHandler) // all that is left to tell apt is a broken connection
		}
		return err
	}
	name := filepath.Join(m.dir, m.prefix(url)+hex.EncodeToString(t.hash.Sum(nil)))
	m.use(name)
	return os.Rename(f.Name(), name)
}

func (m *mirror) count(n int64) {
	m.mu.Lock()
	m.received += n
	sum := m.received
	m.mu.Unlock()
	m.out.Progress("download packages", sum, 0)
}

// A tee writes a download to its file and to the client that waits for it.
type tee struct {
	file    *os.File
	hash    hash.Hash
	client  io.Writer // nil for none, or none any more
	started bool      // the client has got something
}

func (t *tee) Write(p []byte) (int, error) {
	n, err := t.file.Write(p)
	t.hash.Write(p[:n])
	if t.client != nil && n > 0 {
		t.started = true
		if _, hungUp := t.client.Write(p[:n]); hungUp != nil {
			t.client = nil
		}
	}
	return n, err
}

// restart begins again. What the client has got cannot be taken back.
func (t *tee) restart() error {
	if t.started {
		return errors.New("the server does not go on where it broke off")
	}
	t.hash.Reset()
	if err := t.file.Truncate(0); err != nil {
		return err
	}
	_, err := t.file.Seek(0, io.SeekStart)
	return err
}

// prefetch downloads urls ahead of apt, a few at a time, until ctx ends.
func (m *mirror) prefetch(ctx context.Context, urls []string) {
	const connections = 3
	next := make(chan string)
	var running sync.WaitGroup
	defer running.Wait()
	for range connections {
		running.Go(func() {
			for url := range next {
				if url = m.upstream(url); url == "" || !immutable(url) {
					continue
				}
				// An error is apt's to report: it asks for the same file.
				if f, err := m.file(ctx, url, nil); err == nil && f != nil {
					f.Close()
				}
			}
		})
	}
	defer close(next)
	for _, url := range urls {
		select {
		case next <- url:
		case <-ctx.Done():
			return
		}
	}
}

// distrust removes the cached files that this import used, after apt found
// that one of them is not what the archive says.
func (m *mirror) distrust() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	for name := range m.used {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
