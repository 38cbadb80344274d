package export

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"

	"bake.build/bake/runtime/disk/drivers"
)

var vhdx = Format{
	Name: "vhdx", Ext: ".vhdx", From: FromDisk, RunsOn: &drivers.HyperV, Tools: []Tool{qemuImg},
	Doc:   "Microsoft's VHDX, growing, for Hyper-V.",
	Write: func(ctx context.Context, j *Job, out string) error { return j.writeVHDX(ctx, "vhdx", out) },
}

// Places in a VHDX, as of [MS-VHDX]: two headers, of which the one with the larger
// number counts, and the table of metadata, whose entries lead to its items.
const (
	vhdxHeader1   = 64 << 10
	vhdxHeader2   = 128 << 10
	vhdxHeader    = 4 << 10
	vhdxRegions   = 192 << 10
	vhdxEntry     = 32
	vhdxMetadata  = "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e"
	vhdxPage83    = "\xab\x12\xca\xbe\xe6\xb2\x23\x45\x93\xef\xc3\x09\xe0\x00\xc7\x46"
	vhdxTableSize = 64 << 10
)

func (j *Job) writeVHDX(ctx context.Context, format, out string) error {
	if err := convert(ctx, j, out, "vhdx", "-o", "subformat=dynamic"); err != nil {
		return err
	}
	id := j.Derive(format)
	if err := patch(out, vhdxHeader1, vhdxHeader2-vhdxHeader1+vhdxHeader, func(b []byte) error {
		return vhdxHeaders(b[:vhdxHeader], b[vhdxHeader2-vhdxHeader1:], id, func(at int64, size int) error {
			return patch(out, at, size, func(b []byte) error { clear(b); return nil })
		})
	}); err != nil {
		return err
	}
	var metadata int64
	if err := patch(out, vhdxRegions, vhdxTableSize, func(b []byte) (err error) {
		metadata, err = vhdxFind(b, 16, binary.LittleEndian.Uint32(b[8:]), vhdxMetadata, 8)
		return err
	}); err != nil {
		return err
	}
	disk := j.Derive(format + " disk")
	var item int64
	if err := patch(out, metadata, vhdxTableSize, func(b []byte) (err error) {
		item, err = vhdxFind(b, vhdxEntry, uint32(binary.LittleEndian.Uint16(b[10:])), vhdxPage83, 4)
		return err
	}); err != nil {
		return err
	}
	return patch(out, metadata+item, 16, func(b []byte) error {
		copy(b, uuid(disk[:16]))
		return nil
	})
}

// vhdxFind returns where the item with an ID lies, from a table whose entries begin at
// the offset at and hold numbers of width bytes behind the ID.
func vhdxFind(table []byte, at int, count uint32, id string, width int) (int64, error) {
	for i := range int(min(count, 2047)) {
		e := table[at+vhdxEntry*i:]
		if len(e) < vhdxEntry {
			break
		}
		if string(e[:16]) == id {
			if width == 4 {
				return int64(binary.LittleEndian.Uint32(e[16:])), nil
			}
			return int64(binary.LittleEndian.Uint64(e[16:])), nil
		}
	}
	return 0, errors.New("not a whole VHDX")
}

// vhdxHeaders replaces what qemu-img makes at random in both headers: the identifiers of
// the last write, and the number of the first header's version. The log, which is played
// already, goes by way of erase.
func vhdxHeaders(one, two []byte, id [32]byte, erase func(at int64, size int) error) error {
	const checksum, number, fileWrite, dataWrite, log, logSize, logAt = 4, 8, 16, 32, 48, 68, 72
	le := binary.LittleEndian
	first, second := uint64(1), uint64(2)
	if le.Uint64(one[number:]) > le.Uint64(two[number:]) {
		first, second = second, first
	}
	for n, b := range map[uint64][]byte{first: one, second: two} {
		if string(b[:4]) != "head" || !bytes.Equal(b[log:log+16], make([]byte, 16)) {
			return errors.New("not a header of a VHDX that was closed in order")
		}
		le.PutUint64(b[number:], n)
		copy(b[fileWrite:], uuid(id[:16]))
		copy(b[dataWrite:], uuid(id[16:]))
		le.PutUint32(b[checksum:], 0)
		le.PutUint32(b[checksum:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	}
	return erase(int64(le.Uint64(one[logAt:])), int(le.Uint32(one[logSize:])))
}
