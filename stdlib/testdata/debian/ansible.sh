#!/bin/sh -eux
printf 'release 1.2, it'"'"'s "$HOME"\n, 5\n' >/tmp/want
diff /tmp/want /etc/web.conf
test "$(stat -c %a /etc/web.conf)" = 640
test "$(systemctl --root=/ is-enabled ssh || true)" = disabled
! command -v ansible-playbook
test ! -e /var/lib/bake-ansible
test ! -e /root/.ansible
test ! -e /tmp/.ansible-bake
