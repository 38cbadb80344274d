package seed

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// The door is a login that the image's own SSH server has no part in: an sshd of the
// build's own, with a configuration of its own below /run, that talks through a
// virtio port. It opens whatever the image says of its SSH server, of its users or
// of its network. It is started by systemd when the port appears, after the machine
// has booted; nothing of it is on a disk.

// DoorPort is the name of the virtio port, and DoorNumber its number on its bus.
const (
	DoorPort   = "build.bake.2"
	DoorNumber = 20
)

// Places of the door in the machine.
const (
	doorScript = "/run/bake/login"
	doorUnit   = "bake-login.service"
	unitDir    = "/run/systemd/system"
)

// openDoor serves one connection and ends with it. PAM is left out unless root's
// password is locked by a mark that sshd without PAM takes for a locked account.
const openDoor = `port=/dev/virtio-ports/` + DoorPort + `
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
sshd=$(command -v sshd) && [ -c "$port" ] || { sleep 5; exit 1; }
mkdir -p /run/sshd
key=/run/bake/host_key
[ -s $key ] || ssh-keygen -q -t ed25519 -N '' -f $key || exit 1
pam=no
case $(grep '^root:' /etc/shadow | cut -d: -f2) in !*) pam=yes ;; esac
exec "$sshd" -i -e -f /dev/null -h $key -o AuthorizedKeysFile=` + keyPath + ` -o StrictModes=no \
	-o PermitRootLogin=yes -o PasswordAuthentication=no -o UsePAM=$pam -o UseDNS=no -o LoginGraceTime=0 \
	-o PrintMotd=no -o 'Subsystem=sftp internal-sftp' 0<>"$port" 1>&0
`

// doorService is the unit of systemd that keeps the door.
const doorService = `[Unit]
Description=Login of the build
DefaultDependencies=no
After=multi-user.target
Conflicts=shutdown.target
Before=shutdown.target
StartLimitIntervalSec=0

[Service]
ExecStart=/bin/sh ` + doorScript + `
Restart=always
RestartSec=100ms
KillMode=process
`

// doorLines are the lines of tmpfiles.d(5) that put the door in its place. The
// manager has read its units by then; it reads those of a device when the device
// appears, so that the port is told to go and to come again. Where its driver is not
// there yet, it appears later.
func doorLines() string {
	file := func(path string, mode int, text string) string {
		return fmt.Sprintf("f+~ %s %04o root root - %s\n", path, mode, base64.StdEncoding.EncodeToString([]byte(text)))
	}
	// The unit's name has "-" as \x2d, and its path in tmpfiles.d has that escaped.
	wants := unitDir + `/dev-virtio\\x2dports-` + DoorPort + ".device.wants"
	return file(doorScript, 0o755, openDoor) +
		file(unitDir+"/"+doorUnit, 0o644, doorService) +
		"d " + wants + " 0755 root root -\n" +
		"L+ " + wants + "/" + doorUnit + " - - - - " + unitDir + "/" + doorUnit + "\n" +
		fmt.Sprintf("w /sys/class/virtio-ports/vport*p%d/uevent - - - - remove\n", DoorNumber) +
		fmt.Sprintf("w /sys/class/virtio-ports/vport?p%d/uevent - - - - add\n", DoorNumber)
}

// doorCommands do the same from cloud-init, for machines with an older systemd or
// none.
func doorCommands() string {
	properties := ""
	for line := range strings.Lines(doorService) {
		line = strings.TrimSpace(line)
		if name, _, ok := strings.Cut(line, "="); ok && name != "ExecStart" {
			properties += " -p '" + line + "'"
		}
	}
	return "cat >" + doorScript + " <<'END'\n" + openDoor + "END\n" +
		"if [ -e " + unitDir + "/" + doorUnit + " ]; then :\n" +
		"elif [ -d " + unitDir + " ]; then systemd-run --quiet --no-block --unit=" + doorUnit + properties + " /bin/sh " + doorScript + "\n" +
		"else setsid sh -c 'while :; do sh " + doorScript + "; sleep 1; done' </dev/null >/dev/null 2>&1 &\nfi\n"
}
