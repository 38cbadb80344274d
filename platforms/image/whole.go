package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// Exit codes of qemu-img check; see qemu-img(1).
const (
	checkLeaks       = 3
	checkUnsupported = 63
)

// CheckWhole fails for an image that is damaged or shorter than it says, such as
// one whose download broke off: QEMU reads what is missing as zeros. It reads the
// image's tables alone.
func CheckWhole(ctx context.Context, n *Node) error {
	if err := n.checkLength(); err != nil {
		return err
	}
	locator, err := n.Locator()
	if err != nil {
		return err
	}
	text, err := exec.CommandContext(ctx, "qemu-img", "check", "--output=json", "--", locator).Output()
	exit := (*exec.ExitError)(nil)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !errors.As(err, &exit):
		return fmt.Errorf("qemu-img check: %w", err)
	case exit.ExitCode() == checkLeaks || exit.ExitCode() == checkUnsupported:
		return nil
	}
	var result struct {
		Errors      int `json:"check-errors"`
		Corruptions int `json:"corruptions"`
	}
	if json.Unmarshal(text, &result) == nil && result.Errors+result.Corruptions > 0 {
		return fmt.Errorf("is cut short or damaged: qemu-img check finds %d errors in its tables", result.Errors+result.Corruptions)
	}
	return errors.New("is cut short or damaged: qemu-img check finds errors in its tables")
}

// checkLength compares the length of files whose tables qemu-img does not look at
// with what they hold.
func (n *Node) checkLength() (err error) {
	f, err := os.Open(n.File.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	h := &header{r: f, size: fi.Size()}
	var needs int64
	switch n.Driver {
	case "vdi":
		needs = neededVDI(h)
	case "raw":
		needs = neededRaw(h)
	}
	if h.err != nil {
		return h.err
	}
	if needs > fi.Size() {
		return fmt.Errorf("is cut short: it has %d bytes of %d", fi.Size(), needs)
	}
	return nil
}

// neededVDI follows VirtualBox' VDIHEADER1: whole blocks lie behind the header.
func neededVDI(h *header) int64 {
	const data, blockSize, allocated = 0x158, 0x178, 0x184
	return int64(h.le32(data)) + int64(h.le32(blockSize))*int64(h.le32(allocated))
}

// neededRaw returns where the last partition of a disk with sectors of 512 bytes
// ends, or the copy of its GPT, which lies behind all (UEFI 2.10, 5.3.2).
func neededRaw(h *header) int64 {
	const (
		sector, signature      = 512, 510
		table, entry, entries  = 446, 16, 4
		kind, first, count     = 4, 8, 12
		protective             = 0xee
		gptAlternate, gptMagic = 32, "EFI PART"
	)
	if string(h.bytes(signature, 2)) != "\x55\xaa" {
		return 0
	}
	if string(h.bytes(sector, len(gptMagic))) == gptMagic {
		return (int64(h.le64(sector+gptAlternate)) + 1) * sector
	}
	var end int64
	for i := range int64(entries) {
		at := table + i*entry
		if k := h.bytes(at+kind, 1)[0]; k != 0 && k != protective {
			end = max(end, (int64(h.le32(at+first))+int64(h.le32(at+count)))*sector)
		}
	}
	return end
}
