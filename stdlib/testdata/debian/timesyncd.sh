#!/bin/sh -eux
# Debian has one program that sets the clock.
! command -v chronyd
test "$(systemctl --root=/ is-enabled systemd-timesyncd)" = enabled
mkdir -p /run/systemd/timesync /var/lib/systemd/timesync
chown systemd-timesync:systemd-timesync /run/systemd/timesync /var/lib/systemd/timesync
timeout 5 env SYSTEMD_LOG_LEVEL=debug setpriv --reuid systemd-timesync --regid systemd-timesync --clear-groups /lib/systemd/systemd-timesyncd >/tmp/log 2>&1 || true
cat /tmp/log
! grep -E 'Unknown|Failed to parse' /tmp/log
grep -q 'Selected server 127.0.0.9' /tmp/log
grep -q 'server ntp.example' /tmp/log
