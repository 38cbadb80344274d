package qemu

import (
	"fmt"
	"os/exec"

	"bake.build/bake/platforms"
)

// packages are the packages of Debian that hold QEMU.
var packages = map[string]string{"amd64": "qemu-system-x86", "arm64": "qemu-system-arm"}

// Check implements platforms.Checker.
func (d *driver) Check() []platforms.Problem {
	const need = "machines of qemu()"
	var problems []platforms.Problem
	lack := func(program, pkg string) {
		if _, err := exec.LookPath(program); err != nil {
			problems = append(problems, platforms.Problem{What: program + " is not installed", Fix: "apt-get install " + pkg, Need: need})
		}
	}
	lack(binaryName(d.settings.arch), packages[d.settings.arch])
	lack("qemu-img", "qemu-utils")
	if d.settings.tpm {
		lack("swtpm", "swtpm")
	}
	if _, err := d.settings.firmware.find(d.settings.arch); err != nil {
		problems = append(problems, platforms.Problem{
			What: fmt.Sprintf("no UEFI firmware for %s is installed", d.settings.arch),
			Fix:  "apt-get install " + firmwarePackages[d.settings.arch], Need: need,
		})
	}
	return problems
}
