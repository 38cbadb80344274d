package qemu

import (
	"net"
	"path/filepath"
	"strconv"
	"testing"

	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
)

// TestTakenPort forwards a port that is in use, which is told before QEMU starts.
func TestTakenPort(t *testing.T) {
	need.Tool(t, "qemu-img", "qemu-system-x86_64")
	w := &world{t: t, host: host{dir: t.TempDir()}}
	d := w.open(func(o *Options) { o.Arch = "amd64" })
	disk := filepath.Join(t.TempDir(), "disk.qcow2")
	if err := createImage(t.Context(), disk, 1<<20); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	_, err = d.Launch(t.Context(), platforms.Image{Path: disk, Format: "qcow2", NoLogin: true, Forward: []platforms.Forward{{Host: port, Guest: 80}}}, platformtest.TestLog{T: t})
	says(t, err, "launch disk.qcow2: forward a local port to the machine's port 80: listen tcp 127.0.0.1:"+strconv.Itoa(port)+": ")
	w.host.nothingLeft(t)
}
