package image

import (
	"encoding/json"
	"fmt"
)

// A Node is an image as QEMU's blockdev options describe it; see "BlockdevOptions"
// in the QMP reference. bake alone says who writes to an image, so that QEMU's
// own locks, which would keep a branch from reading what another one has just
// committed, are off.
type Node struct {
	Driver   string     `json:"driver"`
	Name     string     `json:"node-name,omitempty"`
	ReadOnly bool       `json:"read-only"`
	Discard  string     `json:"discard,omitempty"`
	Cache    *CacheMode `json:"cache,omitempty"`
	File     *NodeFile  `json:"file"`
	Backing  *Node      `json:"backing,omitempty"`

	// Size is that of the disk in bytes, as Open found it.
	Size int64 `json:"-"`
}

// A CacheMode says how a node treats the guest's flushes.
type CacheMode struct {
	NoFlush bool `json:"no-flush"`
}

// A NodeFile is the file below a Node.
type NodeFile struct {
	Driver  string `json:"driver"`
	Path    string `json:"filename"`
	Locking string `json:"locking,omitempty"`
	Discard string `json:"discard,omitempty"`
}

// FileNode is the file at path.
func FileNode(path string) *NodeFile {
	return &NodeFile{Driver: "file", Path: path, Locking: "off", Discard: "unmap"}
}

// Open is the way of every image to QEMU and qemu-img, wherever the image comes
// from: they get its format and all its children by name, and guess and follow
// nothing. format is QEMU's name of the format that the image must have; "" means
// the one that Probe finds. An image that is not whole without another file is an
// error. The node is one to read from, and its Backing is the caller's to set.
func Open(path, format string) (*Node, error) {
	var info Info
	var err error
	if format == "raw" {
		// Whatever its content looks like, it is nothing but the guest's.
		info.Format = format
		info.VirtualSize, err = regularSize(path)
	} else {
		info, err = Probe(path)
	}
	if err != nil {
		return nil, err
	}
	if format != "" && format != info.Format {
		return nil, fmt.Errorf("%s: is not a %s image", path, format)
	}
	return &Node{Driver: info.Format, ReadOnly: true, File: FileNode(path), Size: info.VirtualSize}, nil
}

// backs reports whether images of a format may have a backing file.
func backs(driver string) bool { return driver == "qcow2" || driver == "vmdk" }

// MarshalJSON writes a node that has no backing image, and could have one, as
// such, so that a name in the image's header is not followed.
func (n *Node) MarshalJSON() ([]byte, error) {
	type plain Node
	if !backs(n.Driver) || n.Backing != nil {
		return json.Marshal((*plain)(n))
	}
	return json.Marshal(struct {
		*plain
		Backing *Node `json:"backing"`
	}{(*plain)(n), nil})
}

// Locator is the image for qemu-img.
func (n *Node) Locator() (string, error) {
	text, err := json.Marshal(n)
	return "json:" + string(text), err
}
