#!/bin/sh
# Closes what a server does not need, and turns on what the image needs.
set -eu
passwd --lock root
sed -i 's/^UMASK.*/UMASK 027/' /etc/login.defs
sed -i 's/# server_tokens off;/server_tokens off;/' /etc/nginx/nginx.conf
chmod 0600 /etc/ssh/sshd_config
chmod 0700 /root
find / -xdev -perm -0002 -type f -exec chmod o-w {} +
systemctl enable systemd-networkd
nginx -t
