package image

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// readVMDK follows VMware's Virtual Disk Format 5.0. A sparse extent holds the
// whole disk only when the description in it says so: QEMU takes a header
// without a capacity for a mere envelope of a description, and opens all files
// that this one names.
func readVMDK(h *header) (int64, error) {
	const capacity, descriptor, descriptorSize = 12, 28, 36
	const sector, most = 512, 128 // sectors of description
	sectors, at, n := h.le64(capacity), h.le64(descriptor), h.le64(descriptorSize)
	switch {
	case sectors == 0:
		return 0, outside("is a VMDK without data of its own", "")
	case sectors > 1<<53:
		return 0, errors.New("is damaged: its size makes no sense")
	case at == 0 || n == 0:
		return 0, outside("is a piece of a VMDK", "")
	case n > most || at > uint64(h.size)/sector:
		return 0, errors.New("is damaged: a VMDK whose description is not in the file")
	}
	text, _, _ := bytes.Cut(h.bytes(int64(at)*sector, int(n)*sector), []byte{0})
	return int64(sectors) * sector, checkDescription(string(text))
}

// mostDescription bounds the description of a VMDK, in bytes.
const mostDescription = 64 << 10

// readDescription reads the description of a VMDK that is a file of its own.
func readDescription(h *header) (int64, error) {
	d := parseDescription(string(h.bytes(0, int(min(h.size, mostDescription)))))
	return 0, outside("is the description of a VMDK", d.file)
}

// A vmdkDescription is what is to be known of a VMDK's description.
type vmdkDescription struct {
	kind    string // its createType
	parent  string // CID of the disk that it holds the differences to
	hint    string // where that one is
	extents []string
	file    string   // of the first extent
	lines   []string // of the extents
}

func parseDescription(text string) (d vmdkDescription) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		key, value, _ := strings.Cut(line, "=")
		value = strings.Trim(strings.TrimSpace(value), `"`)
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "createtype":
			d.kind = value
		case "parentcid":
			d.parent = value
		case "parentfilenamehint":
			d.hint = value
		}
		if f := strings.Fields(line); len(f) >= 3 && (f[0] == "RW" || f[0] == "RDONLY" || f[0] == "NOACCESS") {
			d.extents, d.lines = append(d.extents, f[2]), append(d.lines, line)
			if _, name, ok := strings.Cut(line, `"`); ok && d.file == "" {
				d.file, _, _ = strings.Cut(name, `"`)
			}
		}
	}
	return d
}

// checkDescription fails for the description of a VMDK that has not all in one
// file.
func checkDescription(text string) error {
	if !strings.Contains(text, "# Disk DescriptorFile") {
		return errors.New("is damaged: a VMDK without a description")
	}
	d := parseDescription(text)
	switch {
	case d.kind != "monolithicSparse" && d.kind != "streamOptimized":
		return outside(fmt.Sprintf("is a VMDK of the type %q", d.kind), d.file)
	case !strings.EqualFold(d.parent, "ffffffff") || d.hint != "":
		return outside("is a VMDK of differences", d.hint)
	case len(d.extents) != 1:
		return outside(fmt.Sprintf("is a VMDK with %d extents", len(d.extents)), "")
	case d.extents[0] != "SPARSE":
		return outside(fmt.Sprintf("is a VMDK with an extent of the kind %q", d.extents[0]), d.file)
	}
	return nil
}
