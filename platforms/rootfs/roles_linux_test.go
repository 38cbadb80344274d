package rootfs_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
	"bake.build/bake/platforms/rootfs"
)

// roleEnv makes the test program something else than a test, see TestMain.
const roleEnv = "BAKE_TEST_ROLE"

func TestMain(m *testing.M) {
	rootfs.Child()
	role := map[string]func() error{
		"":           nil,
		"write-self": writeSelf,
		"hold":       hold,
		"hold-tree":  holdTree,
		"interact":   interact,
		"await":      await,
		"rootless":   rootless,
	}[os.Getenv(roleEnv)]
	if role == nil {
		os.Exit(m.Run())
	}
	if err := role(); err != nil {
		fmt.Println("error:", err)
		os.Exit(3)
	}
}

// writeSelf runs in a machine as a copy of bake and tries to change its file.
// That it is being executed keeps it from being written to, but not for ever.
func writeSelf() error { return os.Chmod("/proc/self/exe", 0o777) }

// openHere opens a driver and the layer that the test has made in the working
// directory.
func openHere() (platforms.Driver, platforms.Machine, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, nil, err
	}
	d, err := rootfs.Spec().New(json.RawMessage("{}"), testHost{dir})
	if err != nil {
		return nil, nil, err
	}
	m, err := d.Boot(context.Background(), []platforms.Layer{{Key: "base", Dir: filepath.Join(dir, "base")}}, &platformtest.Log{})
	return d, m, err
}

// hold runs a command that does not end, with a daemon beside it.
func hold() error {
	_, m, err := openHere()
	if err != nil {
		return err
	}
	return m.Run(context.Background(), platforms.Cmd{
		Args:   []string{"sh", "-c", "(setsid sleep 31415 &) ; echo ready; sleep 31415"},
		Stdout: os.Stdout,
	})
}

// holdTree shows a tree for ever, with a process that uses it.
func holdTree() error {
	d, m, err := openHere()
	if err != nil {
		return err
	}
	defer m.Close()
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	chain := []platforms.Layer{{Key: "base", Dir: filepath.Join(dir, "base")}}
	return d.(platforms.Treer).Tree(context.Background(), chain, func(dir string) error {
		b, err := os.ReadFile(filepath.Join(dir, "etc/hostname"))
		fmt.Printf("ready %s", b)
		time.Sleep(time.Hour)
		return err
	})
}
