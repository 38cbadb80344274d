package testqemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// A Node is an image in a chain, the newest first.
type Node struct {
	Name    string // of the node in QEMU; unique in the machine
	Path    string
	Format  string // qcow2, raw, vmdk …
	Backing *Node
}

// Option returns QEMU's option -blockdev of the chain.
func (n *Node) Option() (string, error) {
	text, err := json.Marshal(n.dev(true))
	return string(text), err
}

func (n *Node) dev(top bool) map[string]any {
	file := map[string]any{"driver": "file", "filename": n.Path, "locking": "off"}
	if !top {
		file["read-only"] = true
	}
	dev := map[string]any{"driver": n.Format, "node-name": n.Name, "file": file, "cache": map[string]any{"no-flush": true}}
	if !top {
		dev["read-only"] = true
	}
	switch {
	case n.Backing != nil:
		dev["backing"] = n.Backing.dev(false)
	case n.Format == "qcow2":
		dev["backing"] = nil
	}
	return dev
}

// Overlay has the machine write to a new qcow2 file, over the node of its top.
func (m Machine) Overlay(top, name, path string, size int64) error {
	if _, err := Img("create", "-q", "-f", "qcow2", path, fmt.Sprint(size)); err != nil {
		return err
	}
	if err := m.Run("blockdev-add", (&Node{Name: name, Path: path, Format: "qcow2"}).dev(true), nil); err != nil {
		return err
	}
	return m.Run("blockdev-snapshot", map[string]string{"node": top, "overlay": name}, nil)
}

// An Extent is a part of an image that it holds itself.
type Extent struct {
	Start, Length int64
	Offset        int64 // of the data in the file
	Zero          bool
}

// Extents lists what the qcow2 file at the path holds, without what it is based on.
func Extents(path string) ([]Extent, error) {
	text, err := Img("map", "-U", "--output=json", "-f", "qcow2", path)
	if err != nil {
		return nil, err
	}
	var all []struct {
		Start, Length, Offset int64
		Present, Zero         bool
	}
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, err
	}
	var some []Extent
	for _, e := range all {
		if e.Present {
			some = append(some, Extent{e.Start, e.Length, e.Offset, e.Zero})
		}
	}
	return some, nil
}

// Img runs qemu-img.
func Img(args ...string) (string, error) {
	out, err := exec.Command("qemu-img", args...).Output()
	if e := (*exec.ExitError)(nil); errors.As(err, &e) {
		err = fmt.Errorf("qemu-img %s: %s", args[0], strings.TrimSpace(string(e.Stderr)))
	}
	return string(out), err
}
