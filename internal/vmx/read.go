package vmx

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/ovf"
	"bake.build/bake/platforms"
)

// Bounds of a file.
const (
	maxFile  = 1 << 20 // bytes
	maxLines = 10_000
)

// Parse reads a VMX file. The disks that it names are in its folder.
func Parse(text []byte) (*ovf.Machine, error) {
	keys, err := Keys(text)
	if err != nil {
		return nil, err
	}
	if keys["encryption.data"] != "" && keys["config.version"] == "" {
		return nil, errors.New("is encrypted: remove the encryption with the program that made it")
	}
	if keys["config.version"] == "" && keys["virtualhw.version"] == "" {
		return nil, errors.New("is not a VMX file: it has no config.version")
	}
	m := &ovf.Machine{Name: keys["displayname"]}
	m.Annotation = keys["annotation"]
	m.UUID = strings.NewReplacer(" ", "", "-", "").Replace(keys["uuid.bios"])
	o := &m.Hardware
	if o.CPUs, err = number(keys, "numvcpus", 1, hardware.MostCPUs); err != nil {
		return nil, err
	}
	memory, err := number(keys, "memsize", 32, hardware.MostMemory>>20) // MiB; 32 is the least that VMware has
	if err != nil {
		return nil, err
	}
	o.Memory = platforms.FormatSize(int64(memory) << 20)
	if o.HardwareVersion, err = number(keys, "virtualhw.version", 0, math.MaxInt32); err != nil {
		return nil, err
	}
	o.GuestOS = hardware.GuestOf(keys["guestos"], "", 0).Name
	o.Firmware = "bios"
	if strings.EqualFold(keys["firmware"], "efi") {
		o.Firmware = "uefi"
		o.SecureBoot = truth(keys["uefi.secureboot.enabled"])
	}
	o.TPM = keys["managedvm.autoaddvtpm"] != "" || truth(keys["vtpm.present"])
	o.Serial = truth(keys["serial0.present"])
	network(o, keys)
	return m, disks(m, keys)
}

// Keys returns the values of a VMX file by their keys in lower case. A second line of a
// key counts.
func Keys(text []byte) (map[string]string, error) {
	switch {
	case len(text) > maxFile:
		return nil, fmt.Errorf("has %d bytes, and a VMX file at most %d", len(text), maxFile)
	case bytes.IndexByte(text, 0) >= 0:
		return nil, errors.New("is not a VMX file in UTF-8")
	case !utf8.Valid(text):
		return nil, fmt.Errorf("is not a VMX file in UTF-8%s", encodingOf(text))
	}
	keys := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxFile+1)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, rest, ok := strings.Cut(line, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		value, valueOK := valueOf(strings.TrimSpace(rest))
		if !ok || key == "" || n > maxLines || !valueOK {
			return nil, fmt.Errorf("line %d is not a setting of a VMX file", n)
		}
		keys[key] = unescape(value)
	}
	return keys, lines.Err()
}

// encodingOf returns what a file says of its encoding, to be added to an error.
func encodingOf(text []byte) string {
	for line := range bytes.Lines(text) {
		key, value, _ := bytes.Cut(line, []byte("="))
		if strings.EqualFold(string(bytes.TrimSpace(key)), ".encoding") {
			return fmt.Sprintf(": it is in %s", bytes.ToValidUTF8(bytes.TrimSpace(value), nil))
		}
	}
	return ""
}

// valueOf returns the value that begins a text, quoted or a word. A comment may follow,
// and nothing else.
func valueOf(text string) (value string, ok bool) {
	if quoted, yes := strings.CutPrefix(text, `"`); yes {
		if value, text, ok = strings.Cut(quoted, `"`); !ok {
			return "", false
		}
	} else {
		n := strings.IndexAny(text+"#", " \t#")
		value, text = text[:n], text[n:]
		ok = value != ""
	}
	text = strings.TrimSpace(text)
	return value, ok && (text == "" || text[0] == '#')
}

// unescape replaces |xx by the character of that number.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '|' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil && n < utf8.RuneSelf {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func truth(s string) bool {
	return slices.Contains([]string{"true", "t", "yes", "y", "on", "1"}, strings.ToLower(s))
}

func number(keys map[string]string, key string, without, most int) (int, error) {
	if keys[key] == "" {
		return without, nil
	}
	n, err := strconv.ParseInt(keys[key], 10, 32)
	if err != nil || n < 1 || int(n) > most {
		return 0, fmt.Errorf("%s: %q makes no sense", key, keys[key])
	}
	return int(n), nil
}

func network(o *hardware.Options, keys map[string]string) {
	if !truth(keys["ethernet0.present"]) {
		return
	}
	device := cmp.Or(strings.ToLower(keys["ethernet0.virtualdev"]), "e1000")
	for name, called := range cards {
		if called == device {
			o.NIC = name
		}
	}
	o.NIC = cmp.Or(o.NIC, "e1000")
	switch kind := strings.ToLower(cmp.Or(keys["ethernet0.connectiontype"], "bridged")); kind {
	case "nat":
		o.Network = "NAT"
	case "custom":
		o.Network = keys["ethernet0.vnet"]
	default:
		o.Network = kind
	}
}

// disks finds the disks: those of the first bus that has any, which is the one that
// VMware's firmware looks at first.
func disks(m *ovf.Machine, keys map[string]string) error {
	for _, prefix := range []string{"scsi", "sata", "nvme", "ide"} {
		for controller := range 4 {
			for unit := range 30 {
				at := fmt.Sprintf("%s%d:%d", prefix, controller, unit)
				file := keys[at+".filename"]
				if !truth(keys[at+".present"]) || file == "" || !isDisk(keys[at+".devicetype"], file) {
					continue
				}
				name, err := diskName(file)
				if err != nil {
					return fmt.Errorf("%s.fileName: %w", at, err)
				}
				if slices.Contains(m.Disks, ovf.Disk{File: name}) {
					return fmt.Errorf("%s.fileName: the disk %q is attached twice", at, name)
				}
				m.Disks = append(m.Disks, ovf.Disk{File: name})
				if len(m.Disks) == 1 {
					m.Hardware.DiskBus = busOf(prefix, keys[fmt.Sprintf("%s%d.virtualdev", prefix, controller)])
				}
			}
		}
	}
	if len(m.Disks) == 0 {
		return errors.New("the machine has no disk")
	}
	return nil
}

func isDisk(kind, file string) bool {
	return !strings.Contains(strings.ToLower(kind), "cdrom") && strings.EqualFold(path.Ext(file), ".vmdk")
}

// diskName checks the name of a disk.
func diskName(file string) (string, error) {
	clean := path.Clean(strings.ReplaceAll(file, `\`, "/"))
	if path.IsAbs(clean) || clean == ".." || strings.HasPrefix(clean, "../") || len(clean) > 1 && clean[1] == ':' || strings.ContainsRune(clean, 0) {
		return "", fmt.Errorf("%q is outside of the machine's folder", file)
	}
	return clean, nil
}

func busOf(prefix, device string) string {
	for _, b := range buses() {
		if b.name != "scsi" && strings.TrimSuffix(b.prefix, "0") == prefix && (b.device == "" || strings.EqualFold(b.device, device)) {
			return b.name
		}
	}
	return "lsilogic" // of a kind that is not said, or BusLogic
}
