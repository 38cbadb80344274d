package platformtest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"bake.build/bake/platforms"
)

// A Harness tells the suite how to use a driver.
type Harness struct {
	// Driver is the driver to test.
	Driver platforms.Driver

	// First is a first layer of its own kind. It holds sh with echo, cat, test,
	// rm, mkdir, env, pwd, id and sleep, the user ann with the uid and gid 1000,
	// and the directory /tmp.
	First platforms.Layer

	// Dir makes an empty directory for a layer, on the store's file system.
	Dir func(t *testing.T) string

	// CopiedTree says that a Treer shows a copy, which root can write to.
	CopiedTree bool

	// NoIsolation says that machines are not kept from the network.
	NoIsolation bool

	// NoRestart says that the machines of the test cannot be restarted.
	NoRestart bool

	// NoBytes says that a stand-in keeps nothing of disks that are sent to it, so that
	// what is launched has none of their files.
	NoBytes bool

	// Shared lets the checks that do not mind share one machine on First, where
	// starting one takes long.
	Shared bool
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	s := &suite{Harness: h}
	for _, tt := range []struct {
		name string
		test func(*testing.T, *suite)
	}{
		{"fingerprint", testFingerprint},
		{"exit codes", testExitCodes},
		{"streams", testStreams},
		{"stdin", testStdin},
		{"environment", testEnvironment},
		{"directory", testDirectory},
		{"user", testUser},
		{"write and read", testWriteRead},
		{"write replaces", testWriteReplaces},
		{"write keeps directories", testWriteKeepsDirs},
		{"write escapes", testWriteEscapes},
		{"read what is missing", testReadMissing},
		{"cancel", testCancel},
		{"canceled before", testCanceledBefore},
		{"no network", testNoNetwork},
		{"ports", testPorts},
		{"console", testConsole},
		{"expected disconnect", testExpectDisconnect},
		{"reboot", testReboot},
		{"end of sharing", endSharing},
		{"files in memory", testFiles},
		{"commit and go on", testCommit},
		{"branches", testBranches},
		{"remote layers", testRemote},
		{"close drops", testCloseDrops},
		{"closed", testClosed},
		{"concurrent machines", testConcurrent},
		{"caches", testCaches},
		{"caches take turns", testCachesTakeTurns},
		{"tree", testTree},
		{"disk", testDisk},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, s) })
	}
}

type suite struct {
	Harness
	shared platforms.Machine // of the checks up to endSharing; may be nil
	ended  bool              // no check shares any more
}

// endSharing closes the shared machine.
func endSharing(t *testing.T, s *suite) {
	s.ended = true
	if s.shared == nil {
		t.Skip("the checks had a machine each")
	}
	if err := s.shared.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// boot opens a machine on the first layer and those given. Checks that share one
// find what others have left in it.
func (s *suite) boot(t *testing.T, layers ...platforms.Layer) platforms.Machine {
	t.Helper()
	if s.Shared && !s.ended && len(layers) == 0 {
		if s.shared == nil {
			m, err := s.Driver.Boot(context.WithoutCancel(t.Context()), []platforms.Layer{s.First}, TestLog{t})
			if err != nil {
				t.Fatalf("Boot: %v", err)
			}
			s.shared = m
		}
		return s.shared
	}
	m, err := s.Driver.Boot(t.Context(), append([]platforms.Layer{s.First}, layers...), TestLog{t})
	if err != nil {
		t.Fatalf("Boot: %v", err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return m
}

func (s *suite) commit(t *testing.T, m platforms.Machine, key string) platforms.Layer {
	t.Helper()
	state := platforms.State{Key: key, Name: "step " + key, Needed: true}
	if _, remote := s.Driver.(platforms.RemoteLayers); !remote {
		state.Dir = s.Dir(t)
	}
	made, err := m.Commit(t.Context(), state)
	if err != nil {
		t.Fatalf("Commit: %v", err)
	}
	if made.Dropped {
		t.Fatal("Commit: a layer that is needed was not kept")
	}
	return platforms.Layer{Key: key, Dir: state.Dir, Ref: made.Ref, Traits: made.Traits}
}

// sh runs a script that must succeed and returns its standard output.
func sh(t *testing.T, m platforms.Machine, script string, change ...func(*platforms.Cmd)) string {
	t.Helper()
	var out, errs buffer
	c := platforms.Cmd{Args: []string{"sh", "-c", script}, Stdout: &out, Stderr: &errs}
	for _, f := range change {
		f(&c)
	}
	if err := m.Run(t.Context(), c); err != nil {
		t.Fatalf("Run %q: %v\n%s%s", script, err, out.String(), errs.String())
	}
	return out.String()
}

// expect runs a script and compares its output.
func expect(t *testing.T, m platforms.Machine, script, want string, change ...func(*platforms.Cmd)) {
	t.Helper()
	if got := sh(t, m, script, change...); got != want {
		t.Errorf("%s: got %q, want %q", script, got, want)
	}
}

// A buffer takes what two streams write at once.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// exitOf returns the ExitError in err.
func exitOf(t *testing.T, err error) *platforms.ExitError {
	t.Helper()
	var exit *platforms.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("got %v, want an ExitError", err)
	}
	return exit
}

// pack makes a tar stream.
func pack(t *testing.T, headers ...tar.Header) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		body := h.PAXRecords["body"]
		h.PAXRecords = nil
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(body))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func file(name, body string, mode int64) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, PAXRecords: map[string]string{"body": body}}
}

func dir(name string, mode int64) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode}
}

func link(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}
}

// unpack lists a tar stream: name, type, mode and content of each entry.
func unpack(t *testing.T, r io.Reader) map[string]tar.Header {
	t.Helper()
	entries := map[string]tar.Header{}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		h.PAXRecords = map[string]string{"body": string(body)}
		entries[strings.TrimSuffix(h.Name, "/")] = *h
	}
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
