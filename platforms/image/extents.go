package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxExtents bounds the files of a disk, and mostSectors the sectors of one.
const (
	maxExtents  = 4096
	mostSectors = 1 << 40
)

// joinExtents returns the path of a new image in the folder dir with the disk whose
// description is at path, when its data lie in files of their own: in pieces of 2 GiB, as
// VMware's desktop programs write it, or without a format. member returns the path of
// such a file by the name that the description has for it. It returns path itself for an
// image of another kind.
//
// QEMU opens what a description names, so it gets one that is written here, with names in
// dir.
func joinExtents(ctx context.Context, description, dir string, member func(name string) (string, error)) (_ string, err error) {
	start, err := head(description, mostDescription)
	if err != nil || !strings.HasPrefix(string(start), "# Disk DescriptorFile") {
		return description, err
	}
	d := parseDescription(string(start))
	if !slices.Contains([]string{"twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "monolithicFlat", "vmfs"}, d.kind) ||
		!strings.EqualFold(d.parent, "ffffffff") || d.hint != "" || len(d.lines) > maxExtents {
		return description, nil // which Open refuses, with the reason
	}
	base := filepath.Join(dir, filepath.Base(description))
	text := "# Disk DescriptorFile\nversion=1\nCID=00000001\nparentCID=ffffffff\ncreateType=\"" + d.kind + "\"\n"
	for i, line := range d.lines {
		e, err := parseExtent(line)
		if err != nil {
			return "", err
		}
		if e.kind == "ZERO" {
			text += fmt.Sprintf("RW %d ZERO\n", e.sectors)
			continue
		}
		file, err := member(e.file)
		if err == nil {
			err = e.check(file)
		}
		if err != nil {
			return "", fmt.Errorf("%s: %w", strconv.Quote(e.file), err)
		}
		name := fmt.Sprintf("%s.extent%d", base, i)
		if err := os.Symlink(file, name); err != nil {
			return "", err
		}
		text += fmt.Sprintf("RW %d %s \"%s\"", e.sectors, e.kind, filepath.Base(name))
		if e.kind == "FLAT" {
			text += fmt.Sprintf(" %d", e.offset)
		}
		text += "\n"
	}
	clean, joined := base+".description", base+".joined"
	if err := os.WriteFile(clean, []byte(text), 0o600); err != nil {
		return "", err
	}
	locator, err := (&Node{Driver: "vmdk", ReadOnly: true, File: FileNode(clean)}).Locator()
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, "qemu-img", "convert", "-O", "qcow2", "--", locator, joined).CombinedOutput()
	if err != nil {
		return "", errors.Join(context.Cause(ctx), fmt.Errorf("join the pieces of the disk: %w: %s", err, strings.TrimSpace(string(out))))
	}
	return joined, nil
}

// An extent is a file that holds a part of a disk.
type extent struct {
	sectors, offset int64
	kind, file      string
}

// parseExtent reads a line such as
//
//	RW 4192256 SPARSE "disk-s001.vmdk"
func parseExtent(line string) (extent, error) {
	before, rest, _ := strings.Cut(line, `"`)
	name, after, _ := strings.Cut(rest, `"`)
	fields := strings.Fields(before)
	fail := func() (extent, error) { return extent{}, fmt.Errorf("has an extent that makes no sense: %q", line) }
	if len(fields) != 3 {
		return fail()
	}
	e := extent{kind: fields[2], file: name}
	var err error
	if e.sectors, err = strconv.ParseInt(fields[1], 10, 64); err != nil || e.sectors < 1 || e.sectors > mostSectors {
		return fail()
	}
	if after = strings.TrimSpace(after); after != "" {
		if e.offset, err = strconv.ParseInt(after, 10, 64); err != nil || e.offset < 0 || e.offset > mostSectors {
			return fail()
		}
	}
	switch e.kind {
	case "SPARSE", "FLAT":
	case "VMFS":
		e.kind = "FLAT"
	case "ZERO":
		return e, nil
	default:
		return extent{}, fmt.Errorf("has an extent of the kind %q", e.kind)
	}
	if name == "" || strings.ContainsAny(name, `/\`) || name == "." || name == ".." {
		return extent{}, fmt.Errorf("has an extent in %q, which is not beside it", name)
	}
	return e, nil
}

// check fails for a file that has not the data of the extent, or that would lead QEMU to
// another one.
func (e extent) check(file string) (err error) {
	const sector = 512
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if e.kind == "FLAT" {
		if needs := (e.offset + e.sectors) * sector; info.Size() < needs {
			return fmt.Errorf("is cut short: it has %d bytes of %d", info.Size(), needs)
		}
		return nil
	}
	const capacity = 12
	h := &header{r: f, size: info.Size()}
	if magic := string(h.bytes(0, 4)); magic != "KDMV" || h.le64(capacity) != uint64(e.sectors) {
		return errors.Join(h.err, fmt.Errorf("is not a piece of %d sectors", e.sectors))
	}
	return h.err
}

// extentMember finds the files that the description of the disk called name has beside
// it. Those of an archive are written into dir.
func (m *Machine) extentMember(ctx context.Context, name, dir string) func(string) (string, error) {
	return func(extent string) (string, error) {
		member := path.Join(path.Dir(name), extent)
		if !m.files.Has(member) {
			return "", errors.New("is not there")
		}
		if p := m.files.Path(member); p != "" {
			return filepath.Abs(p)
		}
		dst, err := filepath.Abs(filepath.Join(dir, "member-"+extent))
		if err != nil {
			return "", err
		}
		return dst, m.extract(ctx, member, dst)
	}
}
