package qemu

import (
	"fmt"
	"os"
	"path/filepath"
)

// A firmware is what a machine starts with: the BIOS of QEMU itself, or UEFI
// with the code and the template of the variable store at these paths.
type firmware struct {
	uefi       bool
	secure     bool   // with Secure Boot, and the keys of Microsoft enrolled
	code, vars string // "" means that they are to be found
}

// known are the places of UEFI firmware for machines without Secure Boot keys,
// as the packages of Debian, Fedora, Arch, openSUSE and Homebrew have them.
var known = map[string][][2]string{
	"amd64": {
		{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
		{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
		{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
		{"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
		{"/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"},
		{"/opt/homebrew/share/qemu/edk2-x86_64-code.fd", "/opt/homebrew/share/qemu/edk2-i386-vars.fd"},
		{"/usr/local/share/qemu/edk2-x86_64-code.fd", "/usr/local/share/qemu/edk2-i386-vars.fd"},
	},
	"arm64": {
		{"/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"},
		{"/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw", "/usr/share/edk2/aarch64/vars-template-pflash.raw"},
		{"/usr/share/qemu/aavmf-aarch64-code.bin", "/usr/share/qemu/aavmf-aarch64-vars.bin"},
		{"/opt/homebrew/share/qemu/edk2-aarch64-code.fd", "/opt/homebrew/share/qemu/edk2-arm-vars.fd"},
		{"/usr/local/share/qemu/edk2-aarch64-code.fd", "/usr/local/share/qemu/edk2-arm-vars.fd"},
	},
}

// knownSecure are the places of UEFI firmware for machines with Secure Boot, and of a
// variable store with Microsoft's keys.
var knownSecure = map[string][][2]string{
	"amd64": {
		{"/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"},
		{"/usr/share/OVMF/OVMF_CODE.secboot.fd", "/usr/share/OVMF/OVMF_VARS.ms.fd"},
		{"/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd", "/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd"},
		{"/usr/share/qemu/ovmf-x86_64-smm-ms-code.bin", "/usr/share/qemu/ovmf-x86_64-smm-ms-vars.bin"},
	},
}

// firmwarePackages are those of Debian.
var firmwarePackages = map[string]string{"amd64": "ovmf", "arm64": "qemu-efi-aarch64"}

// find returns f with its paths.
func (f firmware) find(arch string) (firmware, error) {
	if !f.uefi {
		return f, nil
	}
	if f.code != "" {
		for _, path := range []string{f.code, f.vars} {
			if _, err := os.Stat(path); err != nil {
				return f, fmt.Errorf("read firmware: %w", err)
			}
		}
		return f, nil
	}
	places := known
	if f.secure {
		places = knownSecure
	}
	for _, pair := range places[arch] {
		if exists(pair[0]) && exists(pair[1]) {
			f.code, f.vars = pair[0], pair[1]
			return f, nil
		}
	}
	return f, fmt.Errorf("no UEFI firmware for %s is installed: apt-get install %s, or give firmware and firmware_variables", arch, firmwarePackages[arch])
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// copyTo puts a variable store into dir: the one at the path from, or the template
// where there is none.
func (f firmware) copyTo(dir, from string) error {
	template, err := os.ReadFile(f.vars)
	if err != nil {
		return fmt.Errorf("read the variable store: %w", err)
	}
	data := template
	if from != "" && exists(from) {
		if data, err = os.ReadFile(from); err != nil {
			return fmt.Errorf("read the variable store: %w", err)
		}
	}
	// Firmware with a store of another size does not start, and says nothing.
	if len(data) != len(template) {
		return fmt.Errorf("the variable store %s has %d bytes, and the firmware %s wants %d: give firmware and firmware_variables of the kind that it was made with",
			from, len(data), f.code, len(template))
	}
	return os.WriteFile(filepath.Join(dir, varsName), data, 0o600)
}
