package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"bake.build/bake/internal/testbake"
	"bake.build/bake/platforms/rootfs"
	"bake.build/bake/runtime/build"
)

// TestMain lets the test binary stand for bake: testscript runs it under the
// name bake, and the sandbox re-executes it.
func TestMain(m *testing.M) {
	rootfs.Child()
	testscript.Main(tests{m}, map[string]func(){
		"bake": func() { os.Exit(run(os.Args[1:])) },
	})
}

// tests are those of this package, with a directory of what they share.
type tests struct{ *testing.M }

// Run implements testscript.TestingM.
func (m tests) Run() int {
	dir, err := os.MkdirTemp("", "bake-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	program = filepath.Join(dir, "bake")
	code := m.M.Run()
	if err := errors.Join(openStack.Close(), os.RemoveAll(dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// program is the path of the program for the tests that run it as a process of its
// own, and compile compiles it, at their first need.
var (
	program string
	compile = sync.OnceValue(func() error { return testbake.Build(program) })
)

// buildBake returns the path of the program, which is compiled once for all tests.
func buildBake(t *testing.T) string {
	t.Helper()
	if err := compile(); err != nil {
		t.Fatal(err)
	}
	return program
}

// TestScripts runs testdata/script/*.txtar. A script that runs steps begins
// with `root`, which needs a privileged Linux user.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("BAKE_CACHE_DIR", filepath.Join(env.WorkDir, "cache"))
			env.Setenv("HOME", env.WorkDir)
			env.Values["t"] = env.T()
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"root":        cmdRoot,
			"busybox":     cmdBusybox,
			"samekeys":    cmdSameKeys,
			"hostile":     cmdHostile,
			"exits":       cmdExits,
			"flip":        cmdFlip,
			"nowhere":     cmdNowhere,
			"noleftovers": cmdNoLeftovers,
		},
	})
}

// cmdRoot skips the script where steps cannot run, and fails it in CI.
func cmdRoot(ts *testscript.TestScript, _ bool, _ []string) {
	lack := ""
	if os.Geteuid() != 0 {
		lack = "needs root: run the tests with sudo"
	} else if _, err := os.Stat(busyboxPath); err != nil {
		lack = "needs " + busyboxPath + ": make test installs it"
	}
	if lack == "" {
		return
	}
	if os.Getenv("BAKE_TEST_REQUIRE") != "" {
		ts.Fatalf("%s", lack)
	}
	ts.Value("t").(testscript.T).Skip(lack)
}

const busyboxPath = "/bin/busybox"

// cmdBusybox writes a tar archive of a small root file system: busybox with a
// link for each of its commands, users and groups.
// cmdSameKeys compares the keys of the nodes of two plans.
func cmdSameKeys(ts *testscript.TestScript, _ bool, args []string) {
	var keys [2][]string
	for i := range keys {
		var d build.Description
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[i])), &d))
		for _, n := range d.Nodes {
			keys[i] = append(keys[i], n.Name+" "+n.Key)
		}
	}
	if diff := cmp.Diff(keys[0], keys[1]); diff != "" || len(keys[0]) == 0 {
		ts.Fatalf("keys of %d nodes differ:\n%s", len(keys[0]), diff)
	}
}

func cmdBusybox(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(writeBusybox(ts.MkAbs(args[0])))
}

func writeBusybox(path string) error {
	applets, err := exec.Command(busyboxPath, "--list").Output()
	if err != nil {
		return fmt.Errorf("list the commands of busybox: %w", err)
	}
	binary, err := os.ReadFile(busyboxPath)
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	add := func(h tar.Header, data []byte) {
		h.Size = int64(len(data))
		err = errors.Join(err, w.WriteHeader(&h))
		_, werr := w.Write(data)
		err = errors.Join(err, werr)
	}
	for _, dir := range []string{"bin/", "etc/", "tmp/", "root/", "proc/", "sys/", "dev/", "run/", "mnt/", "var/"} {
		mode := int64(0o755)
		if dir == "tmp/" {
			mode = 0o1777
		}
		add(tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: mode}, nil)
	}
	add(tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, binary)
	for name := range strings.FieldsSeq(string(applets)) {
		if name != "busybox" {
			add(tar.Header{Name: "bin/" + name, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777}, nil)
		}
	}
	add(tar.Header{Name: "etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/:/bin/sh\n"))
	add(tar.Header{Name: "etc/group", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("root:x:0:\nweb:x:1000:\n"))
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	return os.WriteFile(path, buf.Bytes(), 0o644)
}

// cmdHostile writes an archive whose entries try to leave their directory.
func cmdHostile(ts *testscript.TestScript, _ bool, args []string) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	ts.Check(w.WriteHeader(&tar.Header{Name: "out", Typeflag: tar.TypeSymlink, Linkname: "../../../..", Mode: 0o777}))
	ts.Check(w.WriteHeader(&tar.Header{Name: "out/../../../escaped", Typeflag: tar.TypeReg, Mode: 0o644, Size: 1}))
	_, err := w.Write([]byte("x"))
	ts.Check(errors.Join(err, w.Close()))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), buf.Bytes(), 0o644))
}

// cmdExits runs a command that must end with a certain exit code:
//
//	exits CODE command args…
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE command args…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("run %s: %v", args[1], err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d\nstdout:\n%s\nstderr:\n%s", got, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

// cmdFlip changes one bit of the file below a folder of the cache that holds a
// text, keeping its size and its time of modification:
//
//	flip FOLDER TEXT
func cmdFlip(ts *testscript.TestScript, _ bool, args []string) {
	flipped := false
	ts.Check(eachFile(ts.MkAbs(filepath.Join("cache", args[0])), func(path string, data []byte) error {
		i := bytes.Index(data, []byte(args[1]))
		if i < 0 || flipped || strings.HasSuffix(path, ".json") {
			return nil
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt([]byte{data[i] ^ 1}, int64(i))
		flipped = true
		return errors.Join(err, f.Close(), os.Chtimes(path, info.ModTime(), info.ModTime()))
	}))
	if !flipped {
		ts.Fatalf("no file below %s holds %q", args[0], args[1])
	}
}

// cmdNowhere looks for a text in every file that bake wrote.
func cmdNowhere(ts *testscript.TestScript, _ bool, args []string) {
	for _, dir := range []string{"cache", "out"} {
		ts.Check(eachFile(ts.MkAbs(dir), func(path string, data []byte) error {
			if bytes.Contains(data, []byte(args[0])) {
				return fmt.Errorf("%s holds %q", path, args[0])
			}
			return nil
		}))
	}
}

// cmdNoLeftovers looks for mounts and staging folders of the script's cache,
// and for the processes of its steps.
func cmdNoLeftovers(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(leftovers(ts.Getenv("BAKE_CACHE_DIR")))
}

// leftovers returns an error that names what a build left behind: a mount of
// the cache, an entry in its staging folder, a process that has it open as its
// root.
func leftovers(cache string) error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	if strings.Contains(string(mounts), cache) {
		return fmt.Errorf("a mount of %s is left", cache)
	}
	staging, err := os.ReadDir(filepath.Join(cache, "staging"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(staging) > 0 {
		return fmt.Errorf("left in staging: %v", staging)
	}
	procs, err := filepath.Glob("/proc/[0-9]*/mountinfo")
	if err != nil {
		return err
	}
	for _, p := range procs {
		data, _ := os.ReadFile(p) // the process may have ended
		cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(p), "cmdline"))
		if strings.Contains(string(data), cache) || strings.Contains(string(cmdline), cache) {
			return fmt.Errorf("process %s is left: %q", p, cmdline)
		}
	}
	return nil
}

// eachFile calls f with every regular file below dir.
func eachFile(dir string, f func(path string, data []byte) error) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		data, err := io.ReadAll(file)
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
		return f(path, data)
	})
}
