package qemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/hypervisor"
	"bake.build/bake/platforms/seed"
)

// hardware is what a virtual machine is made of.
type hardware struct {
	settings
	binary     string
	dir        string  // of the machine: overlays and the variable store
	overlays   []*node // the disks
	seed       string  // path of the cloud-init seed; "" for none
	credential string  // of systemd, for the SMBIOS tables; "" for none
	forward    []platforms.Forward
	ram        *os.File // the guest's memory, shared with bake; nil for QEMU's own
	incoming   bool     // its state comes by migration
	consoleLog *os.File
	install    *media // what an installer needs beside; nil for none
}

// media are what an installer starts from.
type media struct {
	cds    []string // ISO images; the first boots
	floppy string   // a directory; "" for none
}

// binaryName is QEMU's program for an architecture.
func binaryName(arch string) string {
	if arch == "arm64" {
		return "qemu-system-aarch64"
	}
	return "qemu-system-x86_64"
}

// sshPort is the guest's port that steps come by.
const sshPort = "22"

// arguments collects QEMU's arguments and the files that it inherits.
type arguments struct {
	list  []string
	files []*os.File // from descriptor 3 on
}

func (a *arguments) add(args ...string) { a.list = append(a.list, args...) }

// inherit passes f on and returns its descriptor in QEMU.
func (a *arguments) inherit(f *os.File) int {
	a.files = append(a.files, f)
	return 2 + len(a.files)
}

// link makes a socket that QEMU knows as the character device id.
func (a *arguments) link(id string) (*net.UnixConn, error) {
	l, err := newLink(id)
	if err != nil {
		return nil, err
	}
	a.add("-chardev", fmt.Sprintf("socket,id=%s,fd=%d", id, a.inherit(l.theirs)))
	return l.ours, nil
}

// close closes bake's ends of what was passed on.
func (a *arguments) close() error {
	var errs []error
	for _, f := range a.files {
		errs = append(errs, f.Close())
	}
	a.files = nil
	return errors.Join(errs...)
}

// object adds an option whose value is JSON.
func (a *arguments) object(option string, value any) error {
	text, err := json.Marshal(value)
	a.add(option, string(text))
	return err
}

// arguments returns those of QEMU. A machine that is resumed has to have the
// same ones as that whose state it takes, but for the places of files.
func (hw hardware) arguments(a *arguments) ([]string, error) {
	a.add("-nodefaults", "-no-user-config", "-display", "none", "-S", "-rtc", "base=utc")
	hw.processors(a)
	if err := hw.memoryAndFirmware(a); err != nil {
		return nil, err
	}
	a.add("-mon", "chardev=qmp,mode=control", "-serial", "chardev:console",
		"-device", "virtio-serial-pci",
		"-device", "virtserialport,chardev=helper,name="+helperPort,
		"-device", "virtserialport,chardev=data,name="+dataPort,
		"-device", "virtserialport,chardev=agent,name="+hypervisor.AgentPort,
		"-device", fmt.Sprintf("virtserialport,chardev=%s,name=%s,nr=%d", doorLink, seed.DoorPort, seed.DoorNumber),
		"-device", "virtio-rng-pci")
	if hw.arch == "amd64" {
		a.add("-device", "vmgenid,guid=auto")
	}
	if hw.tpm {
		model := "tpm-crb"
		if hw.arch == "arm64" {
			model = "tpm-tis-device"
		}
		a.add("-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", model+",tpmdev=tpm0")
	}
	hw.network(a)
	if err := hw.drives(a); err != nil {
		return nil, err
	}
	if hw.credential != "" {
		a.add("-smbios", "type=11,value="+escape(hw.credential))
	}
	if hw.incoming {
		a.add("-incoming", "defer")
	}
	hw.sandbox(a)
	a.add(hw.args...)
	return a.list, nil
}

func (hw hardware) processors(a *arguments) {
	model := hw.cpu
	if model == "" {
		model = cpuModel(hw.arch, hw.accel)
	}
	a.add("-cpu", model, "-smp", strconv.Itoa(hw.cpus))
}

func (hw hardware) memoryAndFirmware(a *arguments) error {
	machine := hw.machine + ",accel=" + hw.accel
	if hw.ram != nil {
		fd, err := dup(hw.ram)
		if err != nil {
			return err
		}
		machine += ",memory-backend=ram"
		a.add("-object", fmt.Sprintf("memory-backend-file,id=ram,size=%d,mem-path=/proc/self/fd/%d,share=on", hw.memory, a.inherit(fd)))
	}
	if hw.firmware.uefi {
		machine += ",pflash0=code,pflash1=variables"
		if hw.firmware.secure {
			machine += ",smm=on"
			a.add("-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1")
		}
		for _, n := range []*node{
			rawNode("code", hw.firmware.code, true),
			rawNode("variables", hw.dir+"/"+varsName, false),
		} {
			if err := a.object("-blockdev", n); err != nil {
				return err
			}
		}
	}
	a.add("-machine", machine, "-m", strconv.FormatInt(hw.memory>>20, 10)+"M")
	return nil
}

func (hw hardware) network(a *arguments) {
	user := "user,id=net0,hostfwd=tcp:127.0.0.1:0-:" + sshPort
	for _, f := range hw.forward {
		user += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", f.Host, f.Guest)
	}
	card := cards[hw.nic]
	a.add("-netdev", user, "-device", card+",netdev=net0,romfile=")
	if hw.bridge != "" {
		a.add("-netdev", "bridge,id=net1,br="+escape(hw.bridge), "-device", card+",netdev=net1,romfile=")
	}
}

func (hw hardware) drives(a *arguments) error {
	b := buses[hw.diskBus]
	if b.controller != "" {
		a.add("-device", b.controller+",id="+diskController)
	}
	for i, n := range hw.overlays {
		if err := a.object("-blockdev", n); err != nil {
			return err
		}
		device := b.disk(i, n.Name) + fmt.Sprintf(",id=disk%d", i)
		if i == 0 {
			device += ",bootindex=1"
		}
		a.add("-device", device)
	}
	if hw.seed != "" {
		n := rawNode("seed", hw.seed, true)
		if err := a.object("-blockdev", n); err != nil {
			return err
		}
		a.add("-device", b.seed(len(hw.overlays), n.Name))
	}
	if hw.install != nil {
		return hw.installer(a)
	}
	if len(hw.bootKeys) > 0 && hw.arch == "arm64" { // which has no keyboard
		a.add("-device", "qemu-xhci", "-device", "usb-kbd")
	}
	return nil
}

// installer adds what an installer starts from, and a screen and a keyboard.
func (hw hardware) installer(a *arguments) error {
	a.add("-no-reboot", "-device", "VGA")
	device := "ide-cd"
	if hw.arch == "arm64" {
		device = "scsi-cd"
		a.add("-device", "virtio-scsi-pci", "-device", "qemu-xhci", "-device", "usb-kbd")
	}
	for i, path := range hw.install.cds {
		n := rawNode(fmt.Sprintf("cd%d", i), path, true)
		if err := a.object("-blockdev", n); err != nil {
			return err
		}
		a.add("-device", fmt.Sprintf("%s,drive=%s,bootindex=%d", device, n.Name, i+2))
	}
	if hw.install.floppy != "" {
		// vvfat shows a directory as a FAT file system.
		if err := a.object("-blockdev", map[string]any{"driver": "vvfat", "node-name": "floppy", "read-only": true, "floppy": true, "dir": hw.install.floppy}); err != nil {
			return err
		}
		a.add("-device", "floppy,unit=0,drive=floppy")
	}
	return nil
}

// subject names all of a machine that the saved state of one depends on.
func (hw hardware) subject() string {
	return strings.Join([]string{
		"5", probeSubject(hw.binary, hw.accel), hw.arch, hw.machine, hw.cpu, strconv.Itoa(hw.cpus), strconv.FormatInt(hw.memory, 10),
		fmt.Sprint(hw.firmware), fmt.Sprint(len(hw.overlays)), hw.bridge, fmt.Sprint(hw.tpm), fmt.Sprintf("%q", hw.args),
		fmt.Sprint(hw.seed != ""), hw.diskBus, hw.nic,
	}, "\n")
}
