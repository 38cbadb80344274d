// Package need says what a test needs of the machine it runs on. A test that
// lacks something is skipped with a message that says what; where
// BAKE_TEST_REQUIRE is set, as in CI, the lack fails the test instead.
package need

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
)

// Root needs a Linux machine and the user root.
func Root(t testing.TB) {
	t.Helper()
	if runtime.GOOS != "linux" {
		lack(t, "needs Linux, this is "+runtime.GOOS)
	}
	if os.Geteuid() != 0 {
		lack(t, "needs root: run the tests with sudo")
	}
}

// Tool needs the programs to be in PATH or in the directories of system tools.
func Tool(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		if _, err := os.Stat("/usr/sbin/" + name); err == nil {
			continue
		}
		lack(t, "needs the program "+name+": make test installs it")
	}
}

// File needs a file of the host, such as firmware.
func File(t testing.TB, path string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		lack(t, "needs "+path+": make test installs it")
	}
}

// Slow needs the environment variable BAKE_TEST_SLOW, which make test sets:
// the test takes many seconds.
func Slow(t testing.TB) {
	t.Helper()
	if os.Getenv("BAKE_TEST_SLOW") == "" {
		t.Skip("slow: set BAKE_TEST_SLOW=1, as make test does")
	}
}

func lack(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("BAKE_TEST_REQUIRE") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}
