#!/bin/sh -eux
test "$(id -u admin)" = 1500
for group in admin adm newgrp users; do
	id -nG admin | grep -qw $group
done
test "$(grep -c . /home/admin/.ssh/authorized_keys)" = 2
grep -qxF "ssh-ed25519 AAAA it's me" /home/admin/.ssh/authorized_keys
test "$(stat -c '%a %U %G' /home/admin/.ssh)" = '700 admin admin'
test "$(stat -c '%a %U %G' /home/admin/.ssh/authorized_keys)" = '600 admin admin'
test "$(getent shadow admin | cut -d: -f2)" = '!'
test "$(getent passwd admin | cut -d: -f7)" = /bin/bash
test "$(su admin -s /bin/sh -c 'sudo -n id -u')" = 0
test "$(id -u svc)" -lt 1000
test ! -e /home/svc

test "$(cat /etc/hostname)" = web.example.org
test "$(LC_ALL=de_DE.UTF-8 locale charmap)" = UTF-8
test "$(cat /etc/default/locale)" = LANG=de_DE.UTF-8
test "$(TZ= date -d 2026-07-01T12:00Z +%H:%M)" = 12:00
test "$(date -d 2026-07-01T12:00Z +%H:%M)" = 14:00
test "$(cat /etc/timezone)" = Europe/Berlin

enabled() { systemctl --root=/ is-enabled "$1" || true; }
test "$(enabled nginx)" = disabled
test "$(enabled fstrim.timer)" = enabled
test "$(enabled apt-daily.timer)" = masked
test "$(enabled systemd-networkd)" = enabled
test "$(enabled resolv-conf.path)" = enabled
systemd-analyze verify /etc/systemd/system/resolv-conf.service /etc/systemd/system/ssh-host-keys.service
