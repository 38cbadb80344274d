package qemu

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"bake.build/bake/internal/tool"
)

// An accelerator is how virtual CPUs run.
type accelerator struct {
	name    string // as QEMU names it
	warning string // why it is software emulation, where that was not asked for
}

// hostAccelerators are those that QEMU has for a host.
var hostAccelerators = map[string]string{"linux": "kvm", "darwin": "hvf", "windows": "whpx"}

// chooseAccelerator returns what accel = "auto" means on this host. It is the
// host's accelerator if a guest really runs with it, and faster than without: a
// device file alone says little, as in a virtual machine whose host emulates
// what it lacks.
func chooseAccelerator(ctx context.Context, binary, arch, cache string) (accelerator, error) {
	slow := func(why string) accelerator {
		return accelerator{name: "tcg", warning: "machines run by software emulation, which is slow: " + why}
	}
	name := hostAccelerators[runtime.GOOS]
	switch {
	case arch != runtime.GOARCH:
		return slow(fmt.Sprintf("this host is %s, not %s", runtime.GOARCH, arch)), nil
	case name == "":
		return slow("QEMU has no accelerator for " + runtime.GOOS), nil
	case name == "kvm":
		f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
		if errors.Is(err, os.ErrPermission) {
			return slow("this user may not use /dev/kvm"), nil
		} else if err != nil {
			return slow("this host has no KVM"), nil
		}
		if err := f.Close(); err != nil {
			return accelerator{}, err
		}
	}
	memo := filepath.Join(cache, "accelerator-"+arch+".json")
	subject := probeSubject(binary, name)
	var known probed
	if data, err := os.ReadFile(memo); err == nil && json.Unmarshal(data, &known) == nil && known.Subject == subject {
		if known.Why == "" {
			return accelerator{name: name}, nil
		}
		return slow(known.Why), nil
	}
	why, err := probe(ctx, binary, arch, name)
	if err != nil {
		return accelerator{}, err
	}
	data, err := json.Marshal(probed{Subject: subject, Why: why})
	if err == nil {
		err = os.WriteFile(memo, data, 0o600)
	}
	if err != nil || why == "" {
		return accelerator{name: name}, err
	}
	return slow(why), nil
}

// probed is the remembered outcome of a probe.
type probed struct {
	Subject string `json:"subject"`
	Why     string `json:"why"` // "" when the accelerator works
}

// probeSubject names what the outcome depends on: this start of the host, and
// QEMU.
func probeSubject(binary, accel string) string {
	s := accel + " " + binary
	if fi, err := os.Stat(binary); err == nil {
		s += fmt.Sprint(" ", fi.Size(), " ", fi.ModTime().UnixNano())
	}
	return s + " " + bootID()
}

// bootID names this start of the host; "" where the host does not tell.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// Times of a probe. With an accelerator a guest has booted, counted to probeLoops
// and ended well within probeQuick; a busy host may take longer, and is then
// measured against software emulation.
const (
	probeQuick   = time.Second
	probeTimeout = 5 * time.Second
	probeLoops   = 20_000_000
)

// probe runs a small guest with the accelerator. why says why that is no use; it
// is "" when it is.
func probe(ctx context.Context, binary, arch, accel string) (why string, err error) {
	took, err := runProbe(ctx, binary, arch, accel)
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case err != nil:
		return fmt.Sprintf("a guest does not run with %s: %v", strings.ToUpper(accel), err), nil
	case took <= probeQuick:
		return "", nil
	}
	software, err := runProbe(ctx, binary, arch, "tcg")
	if err != nil {
		return "", fmt.Errorf("run a guest without an accelerator: %w", err)
	}
	if software < took {
		return fmt.Sprintf("%s is slower here", strings.ToUpper(accel)), nil
	}
	return "", nil
}

// runProbe returns how long the small guest took.
func runProbe(ctx context.Context, binary, arch, accel string) (time.Duration, error) {
	dir, err := os.MkdirTemp("", "bake-probe-")
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	took, err := timeProbe(ctx, binary, arch, accel, dir)
	return took, errors.Join(err, os.RemoveAll(dir))
}

func timeProbe(ctx context.Context, binary, arch, accel, dir string) (time.Duration, error) {
	path := filepath.Join(dir, "guest")
	args := []string{"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-m", "64"}
	code, want := bootSector(), 33
	if arch == "arm64" {
		code, want = kernelImage(), 0
		args = append(args, "-machine", "virt,accel="+accel, "-cpu", cpuModel(arch, accel), "-kernel", path)
	} else {
		args = append(args, "-machine", "pc,accel="+accel, "-cpu", cpuModel(arch, accel),
			"-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-drive", "file="+escape(path)+",format=raw,if=floppy,readonly=on")
	}
	if err := os.WriteFile(path, code, 0o600); err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, binary, args...)
	said := newOutput()
	cmd.Stderr = said
	begin := time.Now()
	err := tool.Run(cmd)
	if ctx.Err() != nil {
		return 0, fmt.Errorf("it did not end within %v", probeTimeout)
	}
	if cmd.ProcessState == nil {
		return 0, err
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		return 0, fmt.Errorf("it ended with the status %d: %s", got, said.Why(err))
	}
	return time.Since(begin), nil
}

// escape writes a value of a comma-separated argument of QEMU.
func escape(value string) string { return strings.ReplaceAll(value, ",", ",,") }

// slowEmulated are features that software emulation is slow with, and that no
// program asks for: tables of five levels cost a tenth of the speed, the guards
// of the kernel against itself (smap and the like) and rep movsb (erms) as much
// again.
const slowEmulated = ",la57=off,smap=off,smep=off,umip=off,pku=off,pcid=off,erms=off,fsrm=off"

// cpuModel is the model that machines have when none is asked for.
func cpuModel(arch, accel string) string {
	switch {
	case accel != "tcg":
		return "host"
	case arch == "amd64":
		return "max" + slowEmulated
	}
	return "max,pauth-impdef=on"
}

// bootSector is a boot sector that counts and ends QEMU by its debug port, with
// the exit status 2·0x10+1.
func bootSector() []byte {
	code := []byte{0x66, 0xb9} // mov ecx, probeLoops
	code = binary.LittleEndian.AppendUint32(code, probeLoops)
	code = append(code,
		0x66, 0x49, // again: dec ecx
		0x75, 0xfc, // jnz again
		0xb0, 0x10, // mov al, 0x10
		0xba, 0xf4, 0x00, // mov dx, 0xf4
		0xee,       // out dx, al
		0xf4,       // halt: hlt
		0xeb, 0xfd, // jmp halt
	)
	sector := make([]byte, 512)
	copy(sector, code)
	sector[510], sector[511] = 0x55, 0xaa
	return sector
}

// kernelImage is a flat kernel that counts and powers the machine off (PSCI
// SYSTEM_OFF, "Arm Power State Coordination Interface", 5.1.9).
func kernelImage() []byte {
	var code []byte
	for _, instruction := range []uint32{
		0x52a00001 | probeLoops>>16<<5, // movz w1, probeLoops >> 16, lsl 16
		0x71000421,                     // again: subs w1, w1, 1
		0x54ffffe1,                     // b.ne again
		0x52b08000,                     // movz w0, 0x8400, lsl 16
		0x72800100,                     // movk w0, 8
		0xd4000002,                     // hvc 0
		0x14000000,                     // b .
	} {
		code = binary.LittleEndian.AppendUint32(code, instruction)
	}
	return code
}
