package qemu

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf16"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image/root"
)

// A variable is one of UEFI, as a store keeps it.
type variable struct {
	vendor, name string
	data         []byte
}

// Parts of a variable store of EDK2; see MdeModulePkg/Include/Guid/VariableFormat.h
// and the "Platform Initialization Specification", volume 3, for the volume around it.
const (
	volumeSignature = 40 // offsets in the header of the firmware volume
	volumeHeader    = 48
	storeHeader     = 28
	variableHeader  = 60
	variableStart   = 0x55aa
	variableLive    = 0x3f
)

// authenticated is the GUID of stores whose variables have times and counters.
var authenticated = []byte{0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92}

// Vendors of variables, as a store writes their GUIDs.
const (
	globalVendor = "61dfe48bca93d211aa0d00e098032b8c" // EFI_GLOBAL_VARIABLE
	autoEntry    = "\x4e\xac\x08\x81\x11\x9f\x59\x4d" // the first half of what marks a boot entry as the firmware's own
)

var errNoStore = errors.New("not a variable store of EDK2")

// parseVariables reads the live variables of a store.
func parseVariables(store []byte) ([]variable, error) {
	le := binary.LittleEndian
	written := func(b byte) bool { return b != 0 && b != 0xff }
	if !slices.ContainsFunc(store[:min(len(store), volumeHeader)], written) {
		return nil, nil // firmware formats an empty flash when it starts
	}
	if len(store) < volumeHeader+2 || string(store[volumeSignature:volumeSignature+4]) != "_FVH" {
		return nil, errNoStore
	}
	at := int(le.Uint16(store[volumeHeader:]))
	if len(store) < at+storeHeader || !bytes.Equal(store[at:at+16], authenticated) {
		return nil, errNoStore
	}
	size := int64(le.Uint32(store[at+16:]))
	if size < storeHeader || int64(at)+size > int64(len(store)) {
		return nil, errNoStore
	}
	b := store[at+storeHeader : at+int(size)]
	var list []variable
	for len(b) >= variableHeader && le.Uint16(b) == variableStart {
		state, name, data := b[2], int64(le.Uint32(b[36:])), int64(le.Uint32(b[40:]))
		end := variableHeader + name + data
		if end > int64(len(b)) {
			return nil, errNoStore
		}
		// A variable that is being replaced has one more bit cleared.
		if state == variableLive || state == variableLive-1 {
			list = append(list, variable{
				vendor: fmt.Sprintf("%x", b[44:60]), name: variableName(b[variableHeader : variableHeader+name]),
				data: bytes.Clone(b[variableHeader+name : end]),
			})
		}
		b = b[min(int64(len(b)), (end+3)&^3):]
	}
	return list, nil
}

func variableName(b []byte) string {
	var units []uint16
	for i := 0; i+1 < len(b); i += 2 {
		u := binary.LittleEndian.Uint16(b[i:])
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}

// ownGlobals are variables of the specification that firmware writes at each start,
// or that follow from others.
var ownGlobals = []string{"BootOrder", "Timeout", "Lang", "PlatformLang", "ConIn", "ConOut", "ErrOut", "OsIndications"}

// firmwares are what EDK2 keeps for itself: a counter of starts, the size of memory by
// type, flags of errors, empty settings of iSCSI, the TPM that it found, what follows from
// enrolled keys.
var firmwares = []string{
	"MTC", "MemoryTypeInformation", "VarErrorFlag", "certdb", "InitialAttemptOrder", "VendorKeysNv", "CustomMode",
	"TCG2_CONFIGURATION", "TCG2_DEVICE_DETECTION", "TCG2_VERSION",
}

// byFirmware reports whether firmware sets the variable in every machine by itself.
func (v variable) byFirmware() bool {
	if v.vendor != globalVendor {
		return slices.Contains(firmwares, v.name) || strings.HasPrefix(v.name, "Attempt ")
	}
	switch {
	case slices.Contains(ownGlobals, v.name), numbered(v.name, "Key"), numbered(v.name, "PlatformRecovery"):
		return true
	case numbered(v.name, "Boot"):
		return bytes.Contains(v.data, []byte(autoEntry)) || inFirmware(v.data)
	}
	return false
}

// numbered reports whether a name is the prefix with four digits, such as Boot0001.
func numbered(name, prefix string) bool {
	digits, ok := strings.CutPrefix(name, prefix)
	return ok && len(digits) == 4 && strings.Trim(digits, "0123456789ABCDEFabcdef") == ""
}

// inFirmware reports whether a boot entry (EFI_LOAD_OPTION) begins a program of the
// firmware itself, such as its menu: the path of the device starts in a firmware volume.
func inFirmware(option []byte) bool {
	for at := 6; at+1 < len(option); at += 2 { // after the description
		if option[at] == 0 && option[at+1] == 0 {
			path := option[at+2:]
			return len(path) > 1 && path[0] == 4 && (path[1] == 6 || path[1] == 7)
		}
	}
	return false
}

// changedVariables returns the names of those variables of a store that somebody has
// set or removed, in comparison with the template that it began as.
func changedVariables(store, template []byte) ([]string, error) {
	now, err := parseVariables(store)
	if err != nil {
		return nil, err
	}
	before, err := parseVariables(template)
	if err != nil {
		return nil, err
	}
	lacking := func(list, other []variable) (names []string) {
		for _, v := range list {
			same := func(o variable) bool {
				return v.vendor == o.vendor && v.name == o.name && bytes.Equal(v.data, o.data)
			}
			if !v.byFirmware() && !slices.ContainsFunc(other, same) {
				names = append(names, v.name)
			}
		}
		return names
	}
	names := append(lacking(now, before), lacking(before, now)...)
	slices.Sort(names)
	return slices.Compact(names), nil
}

// MissingLoader implements platforms.VariableStorer.
func (d *driver) MissingLoader(disk string) (string, error) {
	return root.MissingLoader(disk, d.settings.arch)
}

// Variables implements platforms.VariableStorer. A store that firmware alone has
// written in is not worth keeping: any machine gets the same.
func (d *driver) Variables(chain []platforms.Layer) (path string, err error) {
	path = filepath.Join(chain[len(chain)-1].Dir, varsName)
	if !d.settings.firmware.uefi || !exists(path) {
		return "", nil
	}
	f, err := d.settings.firmware.find(d.settings.arch)
	if err != nil {
		return "", err
	}
	store, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	template, err := os.ReadFile(f.vars)
	if err != nil {
		return "", fmt.Errorf("read the variable store: %w", err)
	}
	changed, err := changedVariables(store, template)
	if errors.Is(err, errNoStore) && !bytes.Equal(store, template) {
		return path, nil // of a firmware whose stores are not known: it may be anything
	}
	if len(changed) == 0 {
		return "", err
	}
	return path, err
}
