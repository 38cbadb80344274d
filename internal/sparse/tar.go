package sparse

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
)

// tarBlock is what archives are made of, in bytes.
const tarBlock = 512

// WriteTar writes the regular file f to an archive without its holes, in version 1.0
// of the sparse files of GNU tar, which GNU tar, libarchive, squashfs-tools and Go
// read. tw writes to w and to nothing else; hdr is the header that the file
// would have with its holes. A file that is shorter than hdr says is an
// io.ErrUnexpectedEOF.
func WriteTar(ctx context.Context, tw *tar.Writer, w io.Writer, hdr *tar.Header, f *os.File) error {
	list, err := ranges(f, hdr.Size)
	if err != nil {
		return err
	}
	table, stored := tarMap(list)
	head, err := tarHeader(hdr, stored)
	if err != nil {
		return err
	}
	if err := tw.Flush(); err != nil { // the end of the file before
		return err
	}
	if _, err := w.Write(append(head, table...)); err != nil {
		return err
	}
	for _, r := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.Copy(w, io.NewSectionReader(f, r[0], r[1]-r[0]))
		if err != nil {
			return err
		} else if n < r[1]-r[0] {
			return io.ErrUnexpectedEOF
		}
	}
	_, err = w.Write(make([]byte, -stored&(tarBlock-1)))
	return err
}

// ranges lists where f has data. A file that ends in a hole has an empty range there,
// by which readers know how long it is.
func ranges(f *os.File, size int64) (list [][2]int64, err error) {
	end := int64(-1)
	err = Each(f, size, func(start, stop int64) error {
		list, end = append(list, [2]int64{start, stop}), stop
		return nil
	})
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if info.Size() < size {
		return nil, io.ErrUnexpectedEOF
	}
	if end < size {
		list = append(list, [2]int64{size, size})
	}
	return list, nil
}

// tarMap returns the text that stands before the data, padded, and how many bytes
// both have.
func tarMap(list [][2]int64) (text []byte, stored int64) {
	text = fmt.Appendln(nil, len(list))
	for _, r := range list {
		text = fmt.Appendf(text, "%d\n%d\n", r[0], r[1]-r[0])
		stored += r[1] - r[0]
	}
	text = append(text, make([]byte, -len(text)&(tarBlock-1))...)
	return text, stored + int64(len(text))
}

// Places in a header, after POSIX's ustar format.
const (
	tarName, tarNameEnd = 0, 100
	tarSize, tarSizeEnd = 124, 136
	tarSum, tarSumEnd   = 148, 156
	tarType             = 156
	tarPrefix           = 345
)

// tarHeader returns the headers of a file with holes: an extended one with records
// that archive/tar reads and does not write, and the one that it writes.
func tarHeader(hdr *tar.Header, stored int64) ([]byte, error) {
	h := *hdr
	// Readers that know no sparse files make one that nobody takes for the file.
	h.Name, h.Size = path.Join(path.Dir(hdr.Name), "GNUSparseFile.0", path.Base(hdr.Name)), stored
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&h); err != nil {
		return nil, err
	}
	var records []byte
	written := b.Bytes()
	main := written[len(written)-tarBlock:]
	if written[tarType] == tar.TypeXHeader {
		n, err := strconv.ParseInt(string(bytes.Trim(written[tarSize:tarSizeEnd], " \x00")), 8, 64)
		if err != nil || n > int64(len(written)-2*tarBlock) {
			return nil, errors.New("write archive: the extended header is not as it was expected")
		}
		records = slices.Clone(written[tarBlock : tarBlock+n])
	}
	for _, r := range [][2]string{
		{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.name", hdr.Name}, {"GNU.sparse.realsize", strconv.FormatInt(hdr.Size, 10)},
	} {
		records = append(records, paxRecord(r[0], r[1])...)
	}
	x := slices.Clone(main)
	clear(x[tarName:tarNameEnd])
	clear(x[tarPrefix:])
	copy(x[tarName:], "PaxHeaders.0/GNUSparseFile")
	copy(x[tarSize:tarSizeEnd], fmt.Sprintf("%011o\x00", len(records)))
	x[tarType] = tar.TypeXHeader
	sign(x)
	x = append(x, records...)
	x = append(x, make([]byte, -len(records)&(tarBlock-1))...)
	return append(x, main...), nil
}

// paxRecord is a record of an extended header: its own length comes first.
func paxRecord(key, value string) string {
	n := len(key) + len(value) + len(" =\n")
	size := n + len(strconv.Itoa(n))
	size = n + len(strconv.Itoa(size))
	return fmt.Sprintf("%d %s=%s\n", size, key, value)
}

// sign writes the checksum of a header.
func sign(b []byte) {
	copy(b[tarSum:tarSumEnd], "        ")
	sum := 0
	for _, c := range b[:tarBlock] {
		sum += int(c)
	}
	copy(b[tarSum:tarSumEnd], fmt.Sprintf("%06o\x00 ", sum))
}
