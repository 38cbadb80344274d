package seed

import "strings"

// Files in a relay's directory: what is sent is in files with rising numbers, each of
// which is whole once it has its name.
const (
	RelayIn  = "i"   // to the machine; the relay removes them
	RelayOut = "o"   // from it; who reads them removes them
	RelayEnd = "end" // there is no more to come from the machine
)

// RelayChunk is the most that a file of a relay holds, in bytes.
const RelayChunk = 256 << 10

// Relay returns a script for a machine to which nothing but files and programs can be
// sent, as by VMware Tools. It lets root in who has the key, through an SSH server of the
// build's own, which talks by files in the directory that is its first argument, and ends
// with the connection. As another user than root it needs sudo without a password.
func (l Login) Relay() string { return strings.ReplaceAll(relay, "KEY", l.Key) }

const relay = `#!/bin/sh
# The login of the build, which leaves nothing on the disk but its directory.
[ "$(id -u)" = 0 ] || exec sudo -n /bin/sh "$0" "$1"
umask 077
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
cd "$1" || exit
mkdir -p /run/sshd
echo 'KEY' >authorized_keys
ssh-keygen -q -t ed25519 -N '' -f host_key || exit
pam=no
case $(grep '^root:' /etc/shadow | cut -d: -f2) in !*) pam=yes ;; esac
mkfifo in
(
	n=1
	until [ -e end ]; do
		if [ -e i$n ]; then
			cat i$n
			rm i$n
			n=$((n + 1))
		else
			sleep 0.05 2>/dev/null || sleep 1
		fi
	done
) >in &
"$(command -v sshd)" -i -e -f /dev/null -h "$PWD/host_key" -o AuthorizedKeysFile="$PWD/authorized_keys" -o StrictModes=no \
	-o PermitRootLogin=yes -o PasswordAuthentication=no -o UsePAM=$pam -o UseDNS=no -o LoginGraceTime=0 \
	-o PrintMotd=no -o 'Subsystem=sftp internal-sftp' <in 2>log | (
	n=1
	while dd bs=256k count=1 of=part 2>/dev/null && [ -s part ]; do
		mv part o$n
		n=$((n + 1))
	done
)
: >end
rm -f host_key host_key.pub authorized_keys in part
`
