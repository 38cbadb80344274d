package main

import (
	"os"
	"path/filepath"
	"testing"
)

// testOrdinary runs on the base of the quick start what scripts for machines do:
// services under sudo, a kernel where GRUB is, packages and scripts that change
// the files of names.
func testOrdinary(t *testing.T, e *example) {
	dir := filepath.Join(e.dir, "ordinary")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	const definition = `load("@bake//debian.star", "apt", "network")
m = source(rootfs(), debian = "bookworm", packages = ["linux-image-cloud-amd64", "openssh-server", "systemd-sysv"])
m = apt.install(m, ["grub-pc", "sudo", "systemd-resolved"])
m = shell(network.dhcp(m), """#!/bin/bash -eux
exec 2>&1
test "$(readlink /etc/resolv.conf)" = ../run/systemd/resolve/stub-resolv.conf
getent hosts bake
sudo systemctl stop apt-daily.timer
sudo /bin/systemctl restart ssh
systemctl daemon-reload
su - -c 'systemctl enable --now apt-daily.timer'
test -z "$(sudo true 2>&1)"
touch /boot/grub/grub.cfg
sudo update-grub
grub-mkconfig -o /boot/grub/grub.cfg
rm /boot/initrd.img-*
dpkg-reconfigure "linux-image-$(ls /lib/modules)"
test -s /boot/initrd.img-*
sed -i s/localhost/here/ /etc/hosts
""")
test(m, [
    "systemctl is-enabled apt-daily.timer systemd-resolved ssh",
    "grep -q 127.0.0.1.*here /etc/hosts",
    "test ! -s /boot/grub/grub.cfg",
], network = False)
`
	for name, text := range map[string]string{"images.star": definition, "BAKE_ROOT": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	e.run(t, "ordinary", "build", "--progress", "plain")
}
