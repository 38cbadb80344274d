package root

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"
)

// mbrRecord returns a sector with entries.
func mbrRecord(entries ...mbrEntry) []byte {
	b := make([]byte, sector)
	b[510], b[511] = 0x55, 0xaa
	for i, e := range entries {
		at := b[446+16*i:]
		at[4] = e.kind
		binary.LittleEndian.PutUint32(at[8:], e.first)
		binary.LittleEndian.PutUint32(at[12:], e.count)
	}
	return b
}

// gptDisk returns a disk of 200 blocks with partitions from first to last.
func gptDisk(block int, parts ...[2]uint64) []byte {
	le := binary.LittleEndian
	disk := make([]byte, 200*block)
	head := disk[block:]
	copy(head, "EFI PART")
	le.PutUint64(head[72:], 2)
	le.PutUint32(head[80:], 128)
	le.PutUint32(head[84:], 128)
	for i, p := range parts {
		e := disk[2*block+128*i:]
		e[0] = 1
		le.PutUint64(e[32:], p[0])
		le.PutUint64(e[40:], p[1])
	}
	return disk
}

func mbrDisk(sectors map[int][]byte) []byte {
	disk := make([]byte, 1000*sector)
	for at, s := range sectors {
		copy(disk[at*sector:], s)
	}
	return disk
}

func TestPartitions(t *testing.T) {
	plain := make([]byte, 1000*sector)
	ext4 := make([]byte, 1000*sector)
	copy(ext4[1024+56:], "\x53\xef")
	for name, c := range map[string]struct {
		disk []byte
		want [][2]int64
	}{
		"gpt":        {gptDisk(512, [2]uint64{40, 99}, [2]uint64{100, 150}), [][2]int64{{40 * 512, 60 * 512}, {100 * 512, 51 * 512}}},
		"gpt of 4k":  {gptDisk(4096, [2]uint64{40, 99}), [][2]int64{{40 * 4096, 60 * 4096}}},
		"gpt beyond": {gptDisk(512, [2]uint64{40, 1 << 40}, [2]uint64{9, 8}, [2]uint64{40, 41}), [][2]int64{{40 * 512, 1024}}},
		"mbr":        {mbrDisk(map[int][]byte{0: mbrRecord(mbrEntry{0, 0x83, 10, 20}, mbrEntry{0, 0x82, 30, 5000})}), [][2]int64{{5120, 10240}}},
		"logical": {mbrDisk(map[int][]byte{
			0:   mbrRecord(mbrEntry{0, 0x83, 10, 20}, mbrEntry{0, 0x05, 100, 800}),
			100: mbrRecord(mbrEntry{0, 0x83, 1, 9}, mbrEntry{0, 0x05, 100, 100}),
			200: mbrRecord(mbrEntry{0, 0x83, 2, 8}),
		}), [][2]int64{{5120, 10240}, {101 * 512, 9 * 512}, {202 * 512, 8 * 512}}},
		"loop": {mbrDisk(map[int][]byte{
			0:   mbrRecord(mbrEntry{0, 0x0f, 100, 800}),
			100: mbrRecord(mbrEntry{0, 0x83, 1, 9}, mbrEntry{0, 0x05, 0, 100}),
		}), [][2]int64{{101 * 512, 9 * 512}}},
		"none":  {plain, [][2]int64{{0, 1000 * sector}}},
		"ext4":  {ext4, [][2]int64{{0, 1000 * sector}}},
		"short": {[]byte("x"), [][2]int64{{0, 1}}},
	} {
		got, err := partitions(bytes.NewReader(c.disk), int64(len(c.disk)))
		var spans [][2]int64
		for _, p := range got {
			spans = append(spans, [2]int64{p.start, p.size})
		}
		if err != nil || !reflect.DeepEqual(spans, c.want) {
			t.Errorf("%s: %v, %v, want %v", name, spans, err, c.want)
		}
	}
}

func FuzzPartitions(f *testing.F) {
	f.Add(gptDisk(512, [2]uint64{40, 99}))
	f.Add(mbrDisk(map[int][]byte{0: mbrRecord(mbrEntry{0, 0x05, 100, 800}), 100: mbrRecord(mbrEntry{0, 0x05, 1, 1})}))
	f.Fuzz(func(t *testing.T, disk []byte) {
		size := int64(len(disk))
		parts, err := partitions(bytes.NewReader(disk), size)
		if err != nil {
			return
		}
		for _, p := range parts {
			if p.start < 0 || p.size < 0 || p.start+p.size > size {
				t.Errorf("%+v of a disk of %d bytes", p, size)
			}
			if _, err := fileSystem(bytes.NewReader(disk), p); err != nil {
				t.Error(err)
			}
		}
	})
}
