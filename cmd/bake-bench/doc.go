// Command bake-bench compares bake with other tools that build machine images,
// side by side on this host in one run, and prints times, ratios and targets.
// It asserts nothing: its exit code tells only whether every run succeeded.
//
//	bake-bench -bake bin/bake [-only cold,plan] [-skip-peers] [-json FILE] [-keep]
//
// # The job
//
// Every tool makes the same image, the golden image: Debian bookworm, minimal,
// with a cloud kernel, openssh-server and systemd; nginx-light, curl and jq
// added; a file of 20 MiB and some configuration copied; a hardening script
// run; all written as a bootable qcow2 of 2 GiB. The list of packages, the files
// and the script are the same for all (directory job); packages come from the
// mirror that the host's apt uses, without recommended ones.
//
// # What differs between the tools
//
//   - bake takes security updates from a second archive, writes a disk that
//     boots by BIOS and by UEFI, with GRUB, and a qcow2 as its defaults have it,
//     which is compressed. By default it does not unpack documentation, manual
//     pages and translations, and leaves drivers of physical machines out of the
//     initramfs, both of which save it work: the measurement cold therefore also
//     builds the full image, which has all of that.
//     It installs from the package lists that its base brought, which are those of
//     its pin, where the peers fetch them again; and when nothing changed it does
//     not read inputs again whose size and times are unchanged, as sha256sum does.
//   - debos runs on the host (--disable-fakemachine): a virtual machine around
//     it, its default, would only make it slower. Its disk boots by BIOS only,
//     with extlinux, its qcow2 is not compressed, and it takes no security
//     updates, all of which save it work.
//     Where the host has no udev daemon, udevadm is replaced by a command that
//     does nothing, as waiting for that daemon would never end; where /run is no
//     tmpfs, it gets one of its own, since systemd-nspawn wants that.
//   - Packer's qemu builder starts from a prepared disk that already holds
//     Debian, the kernel and ssh, and so is spared the larger part of a cold
//     build: its time is compared only with that of a rebuild. It runs without
//     hardware acceleration (TCG, two virtual CPUs), which bake does not need. On
//     a host whose KVM works Packer would be quicker than printed here; how much
//     is not measured.
//
// Neither peer caches steps, so that a second run costs them what the first did.
// Each is run once; their times are recorded in the user's cache directory, for
// runs with -skip-peers.
//
// # Terms
//
// A measurement runs something and yields rows. A row has what was got, what it
// is compared with, their ratio and the target. A child is a process that the
// harness starts: its time is wall-clock time from start to exit, its peak
// resident size is the largest of itself and of all the processes that it
// waited for (getrusage), on hosts that tell.
//
// Everything is made in one directory below /var/tmp, on a real disk, and
// removed at the end.
package main
