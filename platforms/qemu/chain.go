package qemu

import (
	"errors"
	"fmt"
	"path/filepath"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image"
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

// A node is an image of a machine.
type node = image.Node

// rawNode is a file that a guest sees as it is.
func rawNode(name, path string, readOnly bool) *node {
	n := &node{Driver: "raw", Name: name, ReadOnly: readOnly, File: &image.NodeFile{Driver: "file", Path: path}}
	if readOnly {
		n.File.Locking = "off"
	}
	return n
}

// overlay is the image that a machine writes to. Its content is worth nothing
// after a crash, so that the guest's flushes go no further than to the host's
// memory.
func overlay(name, path string, backing *node) *node {
	return &node{Driver: "qcow2", Name: name, Discard: "unmap", Cache: &image.CacheMode{NoFlush: true}, File: image.FileNode(path), Backing: backing}
}

// sealed returns disk i of a chain.
func sealed(chain []platforms.Layer, i int) (top *node, err error) {
	if len(chain) == 0 {
		return nil, errors.New("the chain has no layers")
	}
	for _, l := range chain {
		below := top
		if top, err = image.Open(filepath.Join(l.Dir, diskName(i)), "qcow2"); err != nil {
			return nil, fmt.Errorf("layer %s: %w", l.Key, err)
		}
		top.Backing = below
	}
	return top, nil
}
