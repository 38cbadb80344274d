package module

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bake.build/bake/runtime/store"
	"bake.build/bake/starlark/module"
)

// childStore names the store to a process that TestProcesses has started.
const childStore = "BAKE_TEST_MODULE_STORE"

// TestMain lets the test be the process that it starts: it fetches the sources that
// are its arguments, and prints what it got.
func TestMain(m *testing.M) {
	dir := os.Getenv(childStore)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := child(dir, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func child(dir string, sources []string) error {
	s, err := store.Open(dir)
	if err != nil {
		return err
	}
	defer s.Close()
	f := &Fetcher{Store: s}
	for _, text := range sources {
		src, err := module.ParseSource(text)
		if err != nil {
			return err
		}
		tree, err := f.Fetch(context.Background(), src, "v1.0.0", "")
		if err != nil {
			return err
		}
		fmt.Println(tree.Digest)
	}
	return nil
}

// start starts a process that fetches a source. Its output is complete after Wait.
func start(t *testing.T, dir string, src module.Source) (*exec.Cmd, *strings.Builder) {
	t.Helper()
	cmd := exec.Command(os.Args[0], src.String())
	cmd.Env = append(os.Environ(), childStore+"="+dir)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, &out
}

// TestProcesses has four processes fetch one archive at once: one of them downloads it.
func TestProcesses(t *testing.T) {
	b := tarOf(t, "", golden)
	var gets atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gets.Add(1)
		time.Sleep(200 * time.Millisecond) // the others come to the lock meanwhile
		if _, err := w.Write(b); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	dir := t.TempDir()
	src := archiveAt(t, server.URL+"/a.tar", b)
	want := digestOfDir(t, writeDir(t, t.TempDir(), golden))
	type process struct {
		cmd *exec.Cmd
		out *strings.Builder
	}
	var all []process
	for range 4 {
		cmd, out := start(t, dir, src)
		all = append(all, process{cmd, out})
	}
	for _, p := range all {
		if err := p.cmd.Wait(); err != nil || strings.TrimSpace(p.out.String()) != string(want) {
			t.Errorf("a process: %v, %s; want %s", err, p.out, want)
		}
	}
	if n := gets.Load(); n != 1 {
		t.Errorf("the archive was downloaded %d times", n)
	}
}

// TestKilled kills a process in the middle of a download. The next one is not hindered,
// and nothing is left.
func TestKilled(t *testing.T) {
	b := tarOf(t, "", golden)
	half := make(chan struct{}, 1)
	var hang atomic.Bool
	hang.Store(true)
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !hang.Load() {
			if _, err := w.Write(b); err != nil {
				t.Error(err)
			}
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		if _, err := w.Write(b[:len(b)/2]); err != nil {
			t.Error(err)
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		half <- struct{}{}
		<-release
	}))
	defer server.Close()
	defer close(release)
	dir := t.TempDir()
	src := archiveAt(t, server.URL+"/a.tar", b)
	cmd, out := start(t, dir, src)
	<-half
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatalf("it was killed and ended well: %s", out)
	}
	hang.Store(false)
	f := &Fetcher{Store: openStore(t, dir)}
	if got, err := f.Fetch(t.Context(), src, "v1.0.0", ""); err != nil || got.Digest == "" {
		t.Errorf("Fetch afterwards = %+v, %v", got, err)
	}
}
