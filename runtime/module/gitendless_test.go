package module

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bake.build/bake/internal/need"
)

// noise returns n bytes that do not compress.
func noise(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// endless serves a git repository of one commit, whose pack has no end. Each request
// for the pack is told of on ended when the client has left.
func endless(t *testing.T, ended chan<- struct{}) (url, commit string) {
	t.Helper()
	need.Tool(t, "git")
	commit = strings.Repeat("a", 40)
	line := func(w io.Writer, text string) { fmt.Fprintf(w, "%04x%s", len(text)+4, text) }
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			line(w, "# service=git-upload-pack\n")
			fmt.Fprint(w, "0000")
			line(w, commit+" refs/tags/v1.0.0\x00multi_ack_detailed no-done side-band-64k thin-pack allow-tip-sha1-in-want allow-reachable-sha1-in-want\n")
			fmt.Fprint(w, "0000")
			return
		}
		w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			body = z
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			t.Error(err)
		}
		line(w, "NAK\n")
		// A pack with one blob of 2^48 bytes, which is stored as it is.
		head := binary.BigEndian.AppendUint64([]byte("PACK"), 2<<32|1)
		head = append(head, 0xb0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02, 0x78, 0x01)
		line(w, "\x01"+string(head))
		block := string([]byte{0, 0, 0x80, 0xff, 0x7f}) + strings.Repeat("x", 0x8000)
		for {
			if _, err := fmt.Fprintf(w, "%04x\x01%s", len(block)+5, block); err != nil {
				break
			}
		}
		select {
		case ended <- struct{}{}:
		default:
		}
	}))
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GIT_SSL_CAINFO", ca)
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	return server.URL, commit
}

// TestEndlessGit fetches from a server that sends bytes for as long as somebody takes
// them: git is ended with all the programs that it has started, since any of them
// would go on.
func TestEndlessGit(t *testing.T) {
	ended := make(chan struct{}, 1)
	url, commit := endless(t, ended)
	g := &repository{src: parse(t, "git+"+url+"/golden"), most: 4 << 20}
	w, err := newWriter(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	err = g.write(t.Context(), found{commit: commit, ref: "refs/tags/v1.0.0"}, w, t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "more than 4194304 bytes") {
		t.Errorf("write = %v, want that it is too large", err)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("git goes on downloading")
	}
}

// TestLargeGit fetches a repository that is too large but comes at once, and one whose
// tree is a few objects that stand for more files than there are atoms.
func TestLargeGit(t *testing.T) {
	f := newForge(t)
	commit := f.commit("large", map[string]string{"bake.mod": "", "noise": string(noise(t, 2<<20))})
	g := &repository{src: f.source("large"), most: 1 << 20}
	w, err := newWriter(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := g.write(t.Context(), found{commit: commit}, w, t.TempDir()); err == nil || !strings.Contains(err.Error(), "more than 1048576 bytes") {
		t.Errorf("write = %v, want that it is too large", err)
	}
	tree := f.tree("large", gitEntry{"100644", "f", f.hashObject("large", "blob", nil)})
	for range 40 {
		var entries []gitEntry
		for i := range 10 {
			entries = append(entries, gitEntry{"40000", fmt.Sprint("d", i), tree})
		}
		tree = f.tree("large", entries...)
	}
	bomb := f.hashObject("large", "commit", bytes.TrimSpace([]byte("tree "+tree+"\nauthor a <a> 0 +0000\ncommitter a <a> 0 +0000\n\nm")))
	f.git("large", "update-ref", "refs/tags/v1.0.0", bomb)
	start := time.Now()
	if _, err := newFetcher(t).Fetch(t.Context(), f.source("large"), "v1.0.0", ""); err == nil || !strings.Contains(err.Error(), "lists more than any module has") {
		t.Errorf("Fetch = %v, want that there are too many files", err)
	}
	t.Logf("after %v", time.Since(start))
}
