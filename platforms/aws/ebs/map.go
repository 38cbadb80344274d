package ebs

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
)

// BlockSize is the size in bytes of a block of a snapshot.
const BlockSize = 512 << 10

// A Sum is the SHA-256 of a block.
type Sum [sha256.Size]byte

// zeroSum is that of a block of zeros, which no snapshot has to hold.
var zeroSum = Sum(sha256.Sum256(make([]byte, BlockSize)))

// A Map holds the digests of the blocks of a disk, in their order.
type Map []Sum

// mapMagic begins the file of a Map.
const mapMagic = "bake block map 1\n"

// Save writes the map to a new file, which appears whole or not at all.
func (m Map) Save(path string) (err error) {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	b.WriteString(mapMagic)
	for _, sum := range m {
		b.Write(sum[:])
	}
	_, err = f.Write(b.Bytes())
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return nil
}

// LoadMap reads a map.
func LoadMap(path string) (Map, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	rest, ok := bytes.CutPrefix(b, []byte(mapMagic))
	if !ok || len(rest)%sha256.Size != 0 {
		return nil, fmt.Errorf("%s is no map of blocks", path)
	}
	m := make(Map, len(rest)/sha256.Size)
	for i := range m {
		copy(m[i][:], rest[i*sha256.Size:])
	}
	return m, nil
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
