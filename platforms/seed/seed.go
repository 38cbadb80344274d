package seed

import (
	"encoding/base64"
	"fmt"
	"io"
	"path"

	"bake.build/bake/platforms/image/iso"
)

// A Stage says what a machine is started for.
type Stage string

// The stages. cloud-init takes machines of another stage, and with other
// stages' instance ids, for new ones.
const (
	Building Stage = "build" // steps change it
	Testing  Stage = "test"  // it is a finished image
)

// A Login is who may log in to a machine, and with which key.
type Login struct {
	User  string // "root", or one that the image has
	Key   string // a line of authorized_keys
	Stage Stage
	Door  bool // the machine has the virtio port DoorPort, through which root is let in
}

// Places in the machine. Debian's and Ubuntu's SSH servers read the second file
// beside authorized_keys, which is left to the image.
const (
	keyPath = "/run/bake/authorized_keys"
	mark    = "# bake: this line is removed before the image is made"
)

func (l Login) home() string {
	if l.User == "root" {
		return "/root"
	}
	return "/home/" + l.User
}

// Credential returns the credential as a string of SMBIOS type 11.
func (l Login) Credential() string {
	ssh := path.Join(l.home(), ".ssh")
	owner := "root root"
	if l.User != "root" {
		owner = l.User + " " + l.User
	}
	lines := "d /run/bake 0755 root root -\n" +
		fmt.Sprintf("f+~ %s 0644 root root - %s\n", keyPath, base64.StdEncoding.EncodeToString([]byte(l.Key+"\n"))) +
		fmt.Sprintf("d %s 0700 %s -\n", ssh, owner) +
		fmt.Sprintf("L+ %s/authorized_keys2 - - - - %s\n", ssh, keyPath)
	if l.Door {
		lines += doorLines()
	}
	return "io.systemd.credential.binary:tmpfiles.extra=" + base64.StdEncoding.EncodeToString([]byte(lines))
}

// briefMost is how long a string of SMBIOS may be where the hypervisor bounds it.
const briefMost = 255

// BriefCredential is Credential in at most 255 bytes, for hypervisors that have no room
// for more: the key alone, in a marked line of the second file. It returns "" where that
// does not fit.
func (l Login) BriefCredential() string {
	owner := l.User
	if owner == "" {
		owner = "root"
	}
	text := fmt.Sprintf("io.systemd.credential:tmpfiles.extra=f+ %s/.ssh/authorized_keys2 600 %s %s - %s %s\\n", l.home(), owner, owner, l.Key, mark)
	if len(text) > briefMost {
		return ""
	}
	return text
}

// script puts the key in its place, as root. An SSH server that reads no second
// file gets a marked line in the first.
func (l Login) script() string {
	script := fmt.Sprintf(`umask 022
mkdir -p /run/bake
echo '%[1]s' >%[2]s
u='%[3]s'
h=$(getent passwd "$u" | cut -d: -f6)
[ -n "$h" ] || h='%[4]s'
[ -d "$h/.ssh" ] || { mkdir -p "$h/.ssh"; chmod 700 "$h/.ssh"; chown "$u:" "$h/.ssh"; }
ln -sf %[2]s "$h/.ssh/authorized_keys2"
if sshd -T 2>/dev/null | grep -i '^authorizedkeysfile ' | grep -qv authorized_keys2; then
  f="$h/.ssh/authorized_keys"
  touch "$f"; chmod 600 "$f"; chown "$u:" "$f"
  sed -i '\|%[5]s$|d' "$f"
  printf '%%s %%s\n' '%[1]s' '%[5]s' >>"$f"
fi
`, l.Key, keyPath, l.User, l.home(), mark)
	if l.Door {
		script += doorCommands()
	}
	return script
}

// NoCloud writes the seed as an ISO image. See "NoCloud" in the documentation of
// cloud-init: bootcmd runs at each boot, before the SSH server starts.
func (l Login) NoCloud(w io.Writer) error {
	meta := fmt.Sprintf("instance-id: bake-%s\n", l.Stage)
	user := "#cloud-config\n" +
		"ssh_deletekeys: false\n" +
		"disable_root: false\n" +
		"preserve_hostname: true\n" +
		"bootcmd:\n" +
		"- [sh, -c, " + quote(l.script()) + "]\n"
	return iso.Write(w, "cidata", []iso.File{iso.Text("meta-data", meta), iso.Text("user-data", user)})
}

// quote writes a string of YAML.
func quote(s string) string { return fmt.Sprintf("%q", s) }
