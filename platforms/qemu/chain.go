package qemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"bake.build/bake/platforms"
)

// varsName is the UEFI variable store in a layer's directory.
const varsName = "vars.fd"

// diskName is the image of a machine's disk i in a layer's directory.
func diskName(i int) string {
	if i == 0 {
		return "disk.qcow2"
	}
	return fmt.Sprintf("disk%d.qcow2", i)
}

// A node is an image as QEMU's blockdev options describe it; see "BlockdevOptions"
// in the QMP reference. bake alone says who writes to an image, so that QEMU's
// own locks, which would keep a branch from reading what another one has just
// committed, are off.
type node struct {
	Driver   string     `json:"driver"`
	Name     string     `json:"node-name,omitempty"`
	ReadOnly bool       `json:"read-only"`
	Discard  string     `json:"discard,omitempty"`
	Cache    *cacheMode `json:"cache,omitempty"`
	File     *fileNode  `json:"file"`
	Backing  *node      `json:"backing,omitempty"`
}

type cacheMode struct {
	NoFlush bool `json:"no-flush"`
}

type fileNode struct {
	Driver  string `json:"driver"`
	Path    string `json:"filename"`
	Locking string `json:"locking,omitempty"`
	Discard string `json:"discard,omitempty"`
}

// MarshalJSON writes a qcow2 node that has no backing image as such, so that a
// name in the image's header is not followed.
func (n *node) MarshalJSON() ([]byte, error) {
	type plain node
	if n.Driver != "qcow2" || n.Backing != nil {
		return json.Marshal((*plain)(n))
	}
	return json.Marshal(struct {
		*plain
		Backing *node `json:"backing"`
	}{(*plain)(n), nil})
}

func imageFile(path string) *fileNode {
	return &fileNode{Driver: "file", Path: path, Locking: "off", Discard: "unmap"}
}

// sealedImage is an image that is only read.
func sealedImage(format, path string) *node {
	return &node{Driver: format, ReadOnly: true, File: imageFile(path)}
}

// overlay is the image that a machine writes to. Its content is worth nothing
// after a crash, so that the guest's flushes go no further than to the host's
// memory.
func overlay(name, path string, backing *node) *node {
	return &node{Driver: "qcow2", Name: name, Discard: "unmap", Cache: &cacheMode{NoFlush: true}, File: imageFile(path), Backing: backing}
}

// sealed returns disk i of a chain.
func sealed(chain []platforms.Layer, i int) (*node, error) {
	if len(chain) == 0 {
		return nil, errors.New("the chain has no layers")
	}
	var top *node
	for _, l := range chain {
		path := filepath.Join(l.Dir, diskName(i))
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("layer %s: %w", l.Key, err)
		}
		below := top
		top = sealedImage("qcow2", path)
		top.Backing = below
	}
	return top, nil
}

// locator is the image for qemu-img.
func (n *node) locator() (string, error) {
	text, err := json.Marshal(n)
	return "json:" + string(text), err
}
