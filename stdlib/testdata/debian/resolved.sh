#!/bin/sh -eux
# systemd-resolved itself tells what it has read.
systemd-analyze cat-config systemd/resolved.conf | grep -qx 'DNS=10.0.0.2 fd00::2'
test "$(systemctl --root=/ is-enabled systemd-resolved)" = enabled
mkdir -p /run/systemd/resolve
chown systemd-resolve:systemd-resolve /run/systemd/resolve
timeout 5 setpriv --reuid systemd-resolve --regid systemd-resolve --clear-groups /lib/systemd/systemd-resolved >/tmp/log 2>&1 || true
cat /tmp/log
! grep -E 'Unknown|Failed to parse' /tmp/log
grep -qx 'nameserver 10.0.0.2' /run/systemd/resolve/resolv.conf
grep -qx 'nameserver fd00::2' /run/systemd/resolve/resolv.conf
grep -qx 'search corp.example' /run/systemd/resolve/resolv.conf
