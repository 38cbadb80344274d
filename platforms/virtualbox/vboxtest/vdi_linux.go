package vboxtest

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"bake.build/bake/internal/testqemu"
)

// Places in the header of a VDI, version 1.1 (VDICore.h of VirtualBox).
const (
	vdiMagic     = 0xbeda107f
	vdiHeaderEnd = 0x1d8
	vdiMega      = 1 << 20
	vdiNone      = 0xffffffff
	vdiZero      = 0xfffffffe
)

// A vdi is an open VDI.
type vdi struct {
	f      *os.File
	header [vdiHeaderEnd]byte
	table  []byte
}

func (v *vdi) u32(at int) int64    { return int64(binary.LittleEndian.Uint32(v.header[at:])) }
func (v *vdi) size() int64         { return int64(binary.LittleEndian.Uint64(v.header[0x170:])) }
func (v *vdi) block() int64        { return v.u32(0x178) }
func (v *vdi) id(at int) string    { return showUUID(v.header[at : at+16]) }
func (v *vdi) entry(n int64) int64 { return int64(binary.LittleEndian.Uint32(v.table[4*n:])) }
func (v *vdi) place(e int64) int64 { return v.u32(0x158) + e*(v.block()+v.u32(0x17c)) + v.u32(0x17c) }

func openVDI(path string, flags int) (_ *vdi, err error) {
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return nil, err
	}
	v := &vdi{f: f}
	if _, err := f.ReadAt(v.header[:], 0); err != nil || v.u32(0x40) != vdiMagic {
		return nil, errors.Join(errBadFormat, f.Close())
	}
	if err := v.check(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	v.table = make([]byte, 4*v.u32(0x180))
	if _, err := f.ReadAt(v.table, v.u32(0x154)); err != nil {
		return nil, errors.Join(errBadFormat, f.Close())
	}
	return v, nil
}

var errBadFormat = errors.New("VERR_NOT_SUPPORTED")

// check refuses the headers that VirtualBox refuses (vdiValidateHeader in VDI.cpp).
func (v *vdi) check() error {
	blocks, table := v.u32(0x180), v.u32(0x154)
	nobody := strings.Trim(v.id(0x188), "0-") == "" || strings.Trim(v.id(0x198), "0-") == ""
	switch kind := v.u32(0x4c); {
	case v.u32(0x44)>>16 != 1, v.u32(0x48) < 0x180, kind < 1 || kind > 4,
		table < 0x48+v.u32(0x48), v.u32(0x158) < table+4*blocks,
		v.u32(0x48) >= 0x190 && v.u32(0x1d4) != 512,
		v.size() == 0, v.block() == 0, blocks == 0, v.size() > blocks*v.block(), v.u32(0x184) > blocks, nobody:
		return errBadHeader
	}
	return nil
}

var errBadHeader = errors.New("VERR_VD_VDI_INVALID_HEADER")

// showUUID prints a UUID as VirtualBox keeps it: the first numbers are little-endian.
func showUUID(b []byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:]), b[8:10], b[10:16])
}

func rawUUID(s string) []byte {
	b, _ := hex.DecodeString(strings.ReplaceAll(s, "-", "")) // it is one of ours
	if len(b) != 16 {
		return make([]byte, 16)
	}
	binary.LittleEndian.PutUint32(b, binary.BigEndian.Uint32(b))
	binary.LittleEndian.PutUint16(b[4:], binary.BigEndian.Uint16(b[4:]))
	binary.LittleEndian.PutUint16(b[6:], binary.BigEndian.Uint16(b[6:]))
	return b
}

// setIDs writes UUIDs into the header of the file. "" leaves one alone; that of the last
// change is always new.
func setIDs(path, id, parent, parentChange string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	for at, uuid := range map[int64]string{0x188: id, 0x198: newUUID(), 0x1a8: parent, 0x1b8: parentChange} {
		if uuid != "" {
			if _, writeErr := f.WriteAt(rawUUID(uuid), at); writeErr != nil {
				err = writeErr
			}
		}
	}
	return errors.Join(err, f.Close())
}

// createVDI makes an empty medium; one of differences where there is a parent.
func createVDI(path, id, parent, parentChange string, size int64) error {
	blocks := (size + vdiMega - 1) / vdiMega
	data := (vdiMega + 4*blocks + vdiMega - 1) / vdiMega * vdiMega
	b := make([]byte, vdiHeaderEnd)
	copy(b, "<<< Oracle VM VirtualBox Disk Image >>>\n")
	kind := uint32(1)
	if parent != "" {
		kind = 4
	}
	for at, n := range map[int]uint32{0x40: vdiMagic, 0x44: 0x10001, 0x48: 0x190, 0x4c: kind, 0x154: vdiMega, 0x158: uint32(data), 0x168: 512, 0x178: vdiMega, 0x180: uint32(blocks), 0x1d4: 512} {
		binary.LittleEndian.PutUint32(b[at:], n)
	}
	binary.LittleEndian.PutUint64(b[0x170:], uint64(size))
	copy(b[0x188:], rawUUID(id))
	copy(b[0x198:], rawUUID(newUUID()))
	if parent != "" {
		copy(b[0x1a8:], rawUUID(parent))
		copy(b[0x1b8:], rawUUID(parentChange))
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	_, tableErr := f.WriteAt(bytes.Repeat([]byte{0xff}, int(4*blocks)), vdiMega)
	return errors.Join(err, tableErr, f.Truncate(data), f.Close())
}

// apply writes what the VDI at the path holds itself over the raw disk.
func apply(raw *os.File, path string) (err error) {
	v, err := openVDI(path, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.f.Close()) }()
	buf := make([]byte, v.block())
	for n := range v.u32(0x180) {
		at := n * v.block()
		length := min(v.block(), v.size()-at)
		switch e := v.entry(n); e {
		case vdiNone:
			continue
		case vdiZero:
			clear(buf)
		default:
			if _, err := v.f.ReadAt(buf[:length], v.place(e)); err != nil {
				return err
			}
		}
		if _, err := raw.WriteAt(buf[:length], at); err != nil {
			return err
		}
	}
	return nil
}

// store writes the blocks of the raw disk that the extents touch into the VDI at path.
func store(path string, raw *os.File, extents []testqemu.Extent) (err error) {
	v, err := openVDI(path, os.O_RDWR)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.f.Close()) }()
	buf, used := make([]byte, v.block()), v.u32(0x184)
	last := int64(-1)
	for _, e := range extents {
		for n := max(last+1, e.Start/v.block()); n*v.block() < e.Start+e.Length && n < v.u32(0x180); n++ {
			last = n
			clear(buf)
			length := min(v.block(), v.size()-n*v.block())
			if _, err := raw.ReadAt(buf[:length], n*v.block()); err != nil {
				return err
			}
			if v.entry(n) >= vdiZero {
				binary.LittleEndian.PutUint32(v.table[4*n:], uint32(used))
				used++
			}
			if _, err := v.f.WriteAt(buf, v.place(v.entry(n))); err != nil {
				return err
			}
		}
	}
	binary.LittleEndian.PutUint32(v.header[0x184:], uint32(used))
	if _, err := v.f.WriteAt(v.table, v.u32(0x154)); err != nil {
		return err
	}
	_, err = v.f.WriteAt(v.header[0x184:0x188], 0x184)
	return err
}
