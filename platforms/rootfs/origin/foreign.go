package origin

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
)

// foreign are files that people take for tar archives, by their first bytes.
var foreign = []struct {
	magic, what string
	at          int
}{
	{"PK\x03\x04", "a ZIP archive", 0},
	{"PK\x05\x06", "an empty ZIP archive", 0},
	{"7z\xbc\xaf\x27\x1c", "a 7z archive", 0},
	{"Rar!", "a RAR archive", 0},
	{"070701", "a cpio archive", 0},
	{"070702", "a cpio archive", 0},
	{"070707", "a cpio archive", 0},
	{"\xc7\x71", "a cpio archive", 0},
	{"\xed\xab\xee\xdb", "an RPM package", 0},
	{"!<arch>\n", "an ar archive, as Debian packages are", 0},
	{"hsqs", "a squashfs image", 0},
	{"QFI\xfb", "a qcow2 disk", 0},
	{"KDMV", "a VMDK disk", 0},
	{"conectix", "a VHD disk", 0},
	{"\x7fELF", "a program", 0},
	{"MSCF", "a cabinet", 0},
	{"xar!", "a xar archive", 0},
	{"\x04\x22\x4d\x18", "compressed with lz4, which bake does not read", 0},
	{"LZIP", "compressed with lzip, which bake does not read", 0},
	{"\x89LZO", "compressed with lzop, which bake does not read", 0},
	{"<!", "a page of HTML: a server may have answered with it in place of the file", 0},
	{"<html", "a page of HTML: a server may have answered with it in place of the file", 0},
	{"\x55\xaa", "a disk with a partition table: name it with disk", 510},
}

// checkTar fails for what b begins with if that is certainly no tar archive. A header
// of a tar archive begins with a name, which could be any of foreign: its checksum
// decides.
func checkTar(b *bufio.Reader) error {
	head, err := b.Peek(512)
	if len(head) == 0 && err == io.EOF {
		return errors.New("it is empty, and a tar archive has at least its end mark")
	} else if err != nil && err != io.EOF {
		return err
	}
	if isTarHeader(head) {
		return nil // or has a fault that who reads all of it can tell
	}
	for _, f := range foreign {
		if len(head) > f.at && bytes.HasPrefix(head[f.at:], []byte(f.magic)) {
			return fmt.Errorf("it is no tar archive, but %s", f.what)
		}
	}
	return errors.New("it is no tar archive: its first 512 bytes are no header of one")
}

// isTarHeader reports whether a block is the header of a member, of whatever type, or
// the end mark: whether the sum of its bytes, those of the sum itself taken for blanks,
// is what it says. Some old tars added up signed bytes.
func isTarHeader(block []byte) bool {
	const at, end, size = 148, 156, 512 // the place of the sum, and a block
	if len(block) < size {
		return false
	}
	if len(bytes.Trim(block, "\x00")) == 0 {
		return true
	}
	said, err := strconv.ParseInt(string(bytes.Trim(block[at:end], " \x00")), 8, 64)
	if err != nil {
		return false
	}
	var unsigned, signed int64
	for i, c := range block[:size] {
		if i >= at && i < end {
			c = ' '
		}
		unsigned, signed = unsigned+int64(c), signed+int64(int8(c))
	}
	return said == unsigned || said == signed
}

// checkFilled fails for a tree that an archive has left empty.
func checkFilled(tree string) error {
	entries, err := os.ReadDir(tree)
	if err == nil && len(entries) == 0 {
		err = errors.New("the archive has no files")
	}
	return err
}
