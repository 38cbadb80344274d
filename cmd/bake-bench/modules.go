package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"bake.build/bake/runtime/module"
	"bake.build/bake/runtime/store"
	starmodule "bake.build/bake/starlark/module"
)

const (
	manyModules = 100
	roundTrip   = 20 * time.Millisecond

	// A large module, whose files are read to be verified.
	largeFiles    = 2000
	largeFileSize = 50_000
)

// measureModules has bake download many modules from a registry that answers slowly,
// and verify a large one.
func measureModules(ctx context.Context, b *bench) (rows []row, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	slow := func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			time.Sleep(roundTrip)
		}
		inner.ServeHTTP(w, r)
	}
	server := &http.Server{Handler: http.HandlerFunc(slow)}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		closed := server.Close()
		if ended := <-served; err == nil && ended != http.ErrServerClosed {
			err = ended
		}
		if err == nil {
			err = closed
		}
	}()
	w := &moduleWork{b, listener.Addr().String()}
	many, err := w.many(ctx)
	if err != nil {
		return nil, err
	}
	large, err := w.large(ctx)
	return append(many, large...), err
}

// moduleWork is what both measurements need.
type moduleWork struct {
	*bench
	registry string // its address
}

func (w *moduleWork) source(name string) (starmodule.Source, error) {
	return starmodule.ParseSource("oci://" + w.registry + "/" + name)
}

// publish publishes the module in dir.
func (w *moduleWork) publish(ctx context.Context, f *module.Fetcher, dir, name string) error {
	src, err := w.source(name)
	if err != nil {
		return err
	}
	_, err = f.Publish(ctx, dir, "bench.example/"+name, src, "v1.0.0")
	return err
}

// project makes a project that requires the modules with the names given.
func (w *moduleWork) project(dir string, names []string) (project, error) {
	var mod strings.Builder
	mod.WriteString("module(\"bench.example/project\")\n")
	for _, name := range names {
		fmt.Fprintf(&mod, "require(\"bench.example/%s\", \"v1.0.0\", source = \"oci://%s/%s\")\n", name, w.registry, name)
	}
	dir, err := w.subdir(dir)
	if err != nil {
		return project{}, err
	}
	return project{bake: w.bake, dir: dir, store: dir + ".store"}, os.WriteFile(filepath.Join(dir, starmodule.FileName), []byte(mod.String()), 0o644)
}

// many compares bake with the same fetches one after the other.
func (w *moduleWork) many(ctx context.Context) ([]row, error) {
	var names []string
	for i := range manyModules {
		name := fmt.Sprintf("m%d", i)
		names = append(names, name)
		dir, err := w.subdir("published", name)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, starmodule.FileName), fmt.Appendf(nil, "module(\"bench.example/%s\")\n", name), 0o644); err != nil {
			return nil, err
		}
		if err := w.publish(ctx, &module.Fetcher{}, dir, name); err != nil {
			return nil, err
		}
	}
	p, err := w.project("many", names)
	if err != nil {
		return nil, err
	}
	const n = 5
	w.logf("bake downloads %d modules, %d times", manyModules, n)
	runs, err := repeat(ctx, n, p.command("mod", "verify"), func(int) error {
		return os.RemoveAll(p.store)
	})
	if err != nil {
		return nil, err
	}
	w.logf("one after the other")
	base, err := w.oneByOne(ctx, names)
	if err != nil {
		return nil, err
	}
	return []row{row{
		Name: fmt.Sprintf("%d modules, %v a request", manyModules, roundTrip), Got: medianSeconds(runs), Unit: "s", Runs: n,
		Limit: 1.0 / 10, Than: "one by one", Base: base.Seconds(),
	}.finish()}, nil
}

// oneByOne fetches the modules into an empty store, each with a login of its own.
func (w *moduleWork) oneByOne(ctx context.Context, names []string) (time.Duration, error) {
	s, err := store.Open(w.path("onebyone.store"))
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	for _, name := range names {
		src, err := w.source(name)
		if err == nil {
			_, err = (&module.Fetcher{Store: s}).Fetch(ctx, src, "v1.0.0", "")
		}
		if err != nil {
			return 0, err
		}
	}
	took := time.Since(begin)
	return took, s.Close()
}

// large compares the verification of a module with sha256sum of its files.
func (w *moduleWork) large(ctx context.Context) ([]row, error) {
	dir, err := w.subdir("published", "large")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, starmodule.FileName), []byte("module(\"bench.example/large\")\n"), 0o644); err != nil {
		return nil, err
	}
	for i := range largeFiles {
		if err := writeNoise(filepath.Join(dir, fmt.Sprintf("file%d", i)), largeFileSize); err != nil {
			return nil, err
		}
	}
	if err := w.publish(ctx, &module.Fetcher{}, dir, "large"); err != nil {
		return nil, err
	}
	p, err := w.project("verify", []string{"large"})
	if err != nil {
		return nil, err
	}
	if _, err := p.command("mod", "verify").run(ctx); err != nil {
		return nil, err
	}
	files, err := filesBelow(dir)
	if err != nil {
		return nil, err
	}
	const n = 7
	w.logf("bake verifies a module of %d files, %d times", largeFiles, n)
	// Without its memory of digests, bake reads every file to use the module at all.
	runs, err := repeat(ctx, n, p.command("mod", "verify"), func(int) error {
		return os.RemoveAll(filepath.Join(p.store, "statcache"))
	})
	if err != nil {
		return nil, err
	}
	sums, err := repeat(ctx, n, &child{args: append([]string{"sha256sum"}, files...)}, nil)
	if err != nil {
		return nil, err
	}
	return []row{row{
		Name: "mod verify of 100 MB", Got: medianSeconds(runs), Unit: "s", Runs: n, Limit: 1.3, Than: "sha256sum", Base: medianSeconds(sums),
	}.finish()}, nil
}
