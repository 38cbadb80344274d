package ebs

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"os"

	"bake.build/bake/internal/durable"
)

// BlockSize is the size in bytes of a block of a snapshot.
const BlockSize = 512 << 10

// A Sum is the SHA-256 of a block.
type Sum [sha256.Size]byte

// zeroSum is that of a block of zeros, which no snapshot has to hold. It is written out,
// since to compute it takes every start of the program a millisecond.
var zeroSum = Sum{
	0x07, 0x85, 0x4d, 0x2f, 0xef, 0x29, 0x7a, 0x06, 0xba, 0x81, 0x68, 0x5e, 0x66, 0x0c, 0x33, 0x2d,
	0xe3, 0x6d, 0x5d, 0x18, 0xd5, 0x46, 0x92, 0x7d, 0x30, 0xda, 0xad, 0x6d, 0x7f, 0xda, 0x15, 0x41,
}

// A Map holds the digests of the blocks of a disk, in their order.
type Map []Sum

// mapMagic begins the file of a Map, with the version of its format. A line of JSON
// follows, a mapHead; then the digests; then the SHA-256 of all before it.
const mapMagic = "bake block map 2\n"

// A mapHead says whose blocks a map holds, and how many.
type mapHead struct {
	Snapshot  string `json:"snapshot"`
	BlockSize int    `json:"blockSize"`
	Blocks    int    `json:"blocks"`
}

// Save writes the map of a snapshot's blocks to a file, which is on the disk, whole,
// when Save returns.
func (m Map) Save(path, snapshot string) error {
	head, err := json.Marshal(mapHead{Snapshot: snapshot, BlockSize: BlockSize, Blocks: len(m)})
	if err != nil {
		return err
	}
	var b bytes.Buffer
	b.WriteString(mapMagic)
	b.Write(append(head, '\n'))
	for _, sum := range m {
		b.Write(sum[:])
	}
	sum := sha256.Sum256(b.Bytes())
	b.Write(sum[:])
	return durable.WriteFile(path, b.Bytes())
}

// A DamagedError says that a file is not one that this version of bake has written
// whole: what it tells is not to be used.
type DamagedError struct{ Path, Why string }

func (e *DamagedError) Error() string { return e.Path + ": " + e.Why }

// LoadMap reads a map and the id of the snapshot whose blocks it holds. The error is a
// *DamagedError where the file does not say that for sure: a block that is missing would
// count as zeros, and its data in the snapshot would stay.
func LoadMap(path string) (snapshot string, m Map, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", nil, err
	}
	snapshot, m, why := parseMap(b)
	if why != "" {
		return "", nil, &DamagedError{path, why}
	}
	return snapshot, m, nil
}

// parseMap reads the file of a map, or says why it cannot.
func parseMap(b []byte) (snapshot string, m Map, why string) {
	rest, ok := bytes.CutPrefix(b, []byte(mapMagic))
	if !ok || len(b) < len(mapMagic)+sha256.Size {
		return "", nil, "it is not a block map of this version"
	}
	if sum := sha256.Sum256(b[:len(b)-sha256.Size]); !bytes.Equal(sum[:], b[len(b)-sha256.Size:]) {
		return "", nil, "its checksum is wrong"
	}
	line, rest, ok := bytes.Cut(rest[:len(rest)-sha256.Size], []byte("\n"))
	var head mapHead
	if !ok || json.Unmarshal(line, &head) != nil || head.Snapshot == "" || head.BlockSize != BlockSize {
		return "", nil, "its header is wrong"
	}
	if head.Blocks < 0 || len(rest)/sha256.Size != head.Blocks || len(rest)%sha256.Size != 0 {
		return "", nil, "it has another length than it says"
	}
	m = make(Map, head.Blocks)
	for i := range m {
		copy(m[i][:], rest[i*sha256.Size:])
	}
	return head.Snapshot, m, ""
}

// at returns the digest of block i, which is one of zeros beyond the end.
func (m Map) at(i int) Sum {
	if i < len(m) {
		return m[i]
	}
	return zeroSum
}

// readBlock fills buf, which is as long as a block, with block i of a disk. What
// lies beyond the end of the disk is zeros.
func readBlock(disk io.ReaderAt, i int, buf []byte) error {
	n, err := disk.ReadAt(buf, int64(i)*BlockSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	clear(buf[n:])
	return nil
}
