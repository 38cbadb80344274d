package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
)

// Info is what an image of a disk is.
type Info struct {
	Format      string // as QEMU names it: "qcow2", "raw", "vmdk", "vdi", "vpc" or "vhdx"
	VirtualSize int64  // of the disk, in bytes
}

// An outsideError says that an image is not whole by itself. An image from
// elsewhere could name any file of this host, and the key of the layer covers the
// one file only.
type outsideError struct {
	what string // the image is
	file string // that it names; "" where it is not known
}

func (e *outsideError) Error() string {
	file := "another file"
	if e.file != "" {
		file = "the file " + strconv.Quote(e.file)
	}
	return fmt.Sprintf("%s: it is not whole without %s: flatten it with qemu-img convert", e.what, file)
}

func outside(what, file string) error { return &outsideError{what, file} }

// Probe says what the image at path is. It reads the file's header and follows
// nothing that it names; an image that is not whole without another file is an
// error. A file of no known format is raw.
func Probe(path string) (info Info, err error) {
	size, err := regularSize(path)
	if err != nil {
		return Info{}, err
	}
	f, err := os.Open(path)
	if err != nil {
		return Info{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return probe(f, size)
}

// regularSize returns the size of a regular file.
func regularSize(path string) (int64, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	if !fi.Mode().IsRegular() {
		return 0, fmt.Errorf("%s: is not a regular file", path)
	}
	return fi.Size(), nil
}

// probe is Probe of an open file of size bytes.
func probe(r io.ReaderAt, size int64) (Info, error) {
	h := header{r: r, size: size}
	for _, k := range kinds {
		if h.short = false; !bytes.Equal(h.bytes(k.at, len(k.magic)), []byte(k.magic)) {
			continue
		}
		if k.read == nil {
			return Info{}, fmt.Errorf("is %s, which bake does not read: make a qcow2 of it with qemu-img convert", k.what)
		}
		virtual, err := k.read(&h)
		if h.err != nil {
			return Info{}, fmt.Errorf("is damaged: read the header of the %s: %w", k.format, h.err)
		}
		if h.short {
			err = fmt.Errorf("is damaged: it ends within the header of the %s", k.format)
		}
		if err == nil && virtual < 0 {
			err = errors.New("is damaged: its size makes no sense")
		}
		return Info{Format: k.format, VirtualSize: virtual}, err
	}
	return Info{Format: "raw", VirtualSize: size}, nil
}

// A kind is one format and how it is told. The magic is at the offset at, from
// the file's end when that is negative. Formats without a reader are known so
// that they are not taken for raw disks.
type kind struct {
	format, what string
	at           int64
	magic        string
	read         func(h *header) (virtual int64, err error)
}

var kinds = []kind{
	{format: "qcow2", magic: "QFI\xfb", read: readQcow2},
	{format: "vmdk", magic: "KDMV", read: readVMDK},
	{format: "vdi", at: 0x40, magic: "\x7f\x10\xda\xbe", read: readVDI},
	{format: "vpc", magic: "conectix", read: func(h *header) (int64, error) { return readVHD(h, 0) }},
	{format: "vpc", at: -vhdFooter, magic: "conectix", read: func(h *header) (int64, error) { return readVHD(h, -vhdFooter) }},
	{format: "vhdx", magic: "vhdxfile", read: readVHDX},
	{format: "vmdk", magic: "# Disk DescriptorFile", read: readDescription},
	{what: "a VMDK of ESX", magic: "COWD"},
	{what: "a QED image", magic: "QED\x00"},
	{what: "an image of Parallels", magic: "WithoutFreeSpace"},
	{what: "an image of Parallels", magic: "WithouFreSpacExt"},
	{what: "an image of Bochs", magic: "Bochs Virtual HD Image"},
	{what: "a cloop image", magic: "#!/bin/sh\n#V2.0 Format\n"},
	{what: "an encrypted LUKS volume", magic: "LUKS\xba\xbe"},
	{what: "an Apple disk image", at: -512, magic: "koly"},
}

// A header reads pieces of a file. The first error stays; what is read after it,
// or past the file's end, is zeros.
type header struct {
	r     io.ReaderAt
	size  int64
	short bool // something was past the end
	err   error
}

// bytes returns the n bytes at an offset, which counts from the end of the file
// when it is negative.
func (h *header) bytes(at int64, n int) []byte {
	b := make([]byte, n)
	if at < 0 {
		at += h.size
	}
	if at < 0 || at > h.size-int64(n) {
		h.short = true
		return b
	}
	if _, err := h.r.ReadAt(b, at); err != nil && h.err == nil {
		h.err = err
	}
	return b
}

func (h *header) be32(at int64) uint32 { return binary.BigEndian.Uint32(h.bytes(at, 4)) }
func (h *header) be64(at int64) uint64 { return binary.BigEndian.Uint64(h.bytes(at, 8)) }
func (h *header) le32(at int64) uint32 { return binary.LittleEndian.Uint32(h.bytes(at, 4)) }
func (h *header) le64(at int64) uint64 { return binary.LittleEndian.Uint64(h.bytes(at, 8)) }

// readQcow2 follows "Header" in QEMU's docs/interop/qcow2.txt.
func readQcow2(h *header) (int64, error) {
	const backing, backingSize, size, crypt, l1Entries, l1, incompatible, externalData = 8, 16, 24, 32, 36, 40, 72, 1 << 2
	version := h.be32(4)
	switch {
	case version != 2 && version != 3:
		return 0, fmt.Errorf("is a qcow image of version %d, which bake does not read: make a qcow2 of it with qemu-img convert", version)
	case h.be64(backing) != 0:
		return 0, outside("is an overlay of another image", string(h.bytes(int64(h.be64(backing)), int(min(h.be32(backingSize), 1023)))))
	case version == 3 && h.be64(incompatible)&externalData != 0:
		return 0, outside("keeps its data elsewhere", "")
	case h.be32(crypt) != 0:
		return 0, errors.New("is encrypted")
	}
	h.bytes(int64(h.be64(l1)), 8*int(min(h.be32(l1Entries), 1<<20)))
	return int64(h.be64(size)), nil
}

// readVDI follows VirtualBox' VDIHEADER1.
func readVDI(h *header) (int64, error) {
	const kind, size = 0x4c, 0x170
	const growing, fixed = 1, 2
	if k := h.le32(kind); k != growing && k != fixed {
		return 0, outside("is a VDI of differences", "")
	}
	return int64(h.le64(size)), nil
}

const vhdFooter = 512 // bytes

// readVHD follows "Hard Disk Footer Format" in Microsoft's Virtual Hard Disk Image
// Format Specification, version 1.0.
func readVHD(h *header, footer int64) (int64, error) {
	const size, kind = 48, 60
	const fixed, growing, differing = 2, 3, 4
	switch k := h.be32(footer + kind); k {
	case fixed, growing:
		return int64(h.be64(footer + size)), nil
	case differing:
		return 0, outside("is a VHD of differences", "")
	default:
		return 0, fmt.Errorf("is a VHD of an unknown kind, %d", k)
	}
}

// readVHDX follows Microsoft's [MS-VHDX]: the region table leads to the table of
// metadata, and that to the disk's size.
func readVHDX(h *header) (int64, error) {
	const (
		table      = 192 << 10
		metadata   = "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e"
		parameters = "\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b"
		diskSize   = "\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8"
		hasParent  = 2
	)
	region := h.entry(table+16, h.le32(table+8), metadata)
	if region == nil {
		return 0, errors.New("is damaged: a VHDX without metadata")
	}
	at := int64(binary.LittleEndian.Uint64(region[16:]))
	if at < 0 {
		return 0, errors.New("is damaged: a VHDX whose metadata lie nowhere")
	}
	count := h.le32(at+8) >> 16
	param, size := h.entry(at+32, count, parameters), h.entry(at+32, count, diskSize)
	if param == nil || size == nil {
		return 0, errors.New("is damaged: a VHDX without a size")
	}
	item := func(e []byte) int64 { return at + int64(binary.LittleEndian.Uint32(e[16:])) }
	if h.le32(item(param)+4)&hasParent != 0 {
		return 0, outside("is a VHDX of differences", "")
	}
	return int64(h.le64(item(size))), nil
}

// entry returns the one of count entries of 32 bytes that begins with id, or nil.
func (h *header) entry(at int64, count uint32, id string) []byte {
	const most = 2047 // of both tables of a VHDX
	for i := range int64(min(count, most)) {
		if e := h.bytes(at+32*i, 32); string(e[:16]) == id {
			return e
		}
	}
	return nil
}

// LooksLikeDisk fails for what qemu-img takes for a raw disk since it is nothing
// else.
func LooksLikeDisk(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sector := make([]byte, 512)
	if _, err := io.ReadFull(f, sector); err != nil {
		return errors.New("is no disk image: it is shorter than a sector")
	}
	if sector[510] != 0x55 || sector[511] != 0xaa {
		return errors.New("is no disk image: it has no boot sector and no partition table")
	}
	return nil
}
