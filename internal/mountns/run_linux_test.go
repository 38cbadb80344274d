package mountns_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"bake.build/bake/internal/mountns"
	"bake.build/bake/internal/need"
)

// TestRunLeavesNoNamespace looks for threads that keep a namespace, and with it
// its mounts, after the function has returned.
func TestRunLeavesNoNamespace(t *testing.T) {
	need.Root(t)
	host, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		inside := ""
		err := mountns.Run(func() (err error) {
			inside, err = os.Readlink("/proc/thread-self/ns/mnt")
			return err
		})
		if err != nil || inside == host {
			t.Fatalf("the function ran in %s, %v; the host's is %s", inside, err, host)
		}
	}
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		kept := 0
		threads, err := filepath.Glob("/proc/self/task/*/ns/mnt")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range threads {
			if ns, err := os.Readlink(name); err == nil && ns != host {
				kept++
			}
		}
		if kept == 0 {
			return
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("%d threads are in another namespace", kept)
		}
	}
}
