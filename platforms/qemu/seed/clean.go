package seed

import "fmt"

// Clean returns a script of POSIX shell that removes, as root of the machine,
// what is left of the login and what a machine must not share with those that
// are made of its image: what cloud-init remembers, the machine's identity and
// its random seed, leases and the journal of the build. Host keys are removed
// where something makes new ones. At the end unused blocks are given back.
func Clean() string { return fmt.Sprintf(cleanScript, mark) }

const cleanScript = `set -u
for h in /root /home/*; do
  s=$h/.ssh
  [ -d "$s" ] || continue
  if [ -L "$s/authorized_keys2" ] && [ "$(readlink "$s/authorized_keys2")" = /run/bake/authorized_keys ]; then
    rm -f "$s/authorized_keys2"
  fi
  if [ -f "$s/authorized_keys" ] && grep -q '%[1]s$' "$s/authorized_keys"; then
    sed -i '\|%[1]s$|d' "$s/authorized_keys"
    [ -s "$s/authorized_keys" ] || rm -f "$s/authorized_keys"
  fi
  rmdir "$s" 2>/dev/null || true
done
if [ -d /var/lib/cloud ]; then
  rm -rf /var/lib/cloud/instance /var/lib/cloud/instances /var/lib/cloud/data /var/lib/cloud/sem
  rm -f /var/log/cloud-init.log /var/log/cloud-init-output.log
fi
makes_keys=
if [ -d /var/lib/cloud ] && command -v cloud-init >/dev/null 2>&1; then makes_keys=yes; fi
for unit in ssh-host-keys sshd-keygen regenerate_ssh_host_keys; do
  for dir in /etc/systemd/system /lib/systemd/system /usr/lib/systemd/system; do
    [ ! -e "$dir/$unit.service" ] && [ ! -e "$dir/$unit@.service" ] || makes_keys=yes
  done
done
if [ -n "$makes_keys" ]; then rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub; fi
if [ -e /etc/machine-id ] && command -v systemctl >/dev/null 2>&1; then : >/etc/machine-id; fi
if [ -f /var/lib/dbus/machine-id ] && [ ! -L /var/lib/dbus/machine-id ]; then rm -f /var/lib/dbus/machine-id; fi
rm -f /var/lib/systemd/random-seed /var/lib/urandom/random-seed /var/lib/systemd/credential.secret
rm -f /var/lib/dhcp/*.leases /var/lib/dhclient/*.lease* /var/lib/NetworkManager/*.lease
rm -rf /var/log/journal/*
for f in /var/log/wtmp /var/log/btmp /var/log/lastlog; do [ ! -f "$f" ] || : >"$f"; done
sync
if command -v fstrim >/dev/null 2>&1; then fstrim -a 2>/dev/null || true; fi
exit 0
`
