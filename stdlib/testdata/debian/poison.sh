# Puts a package of the same name and size, but of other content, in the place of
# jq's in apt's cache, and what else may lead apt astray.
set -eu
cache=/var/cache/apt/archives
rm -rf $cache/*
apt-get --yes --quiet -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= install --download-only --no-install-recommends jq
deb=$(echo $cache/jq_*.deb)
size=$(stat -c %s "$deb")

mkdir -p /tmp/jq/DEBIAN
dpkg-deb --field "$deb" Package Version Architecture Maintainer Depends Description >/tmp/jq/DEBIAN/control
printf '#!/bin/sh\ntouch /poisoned\n' >/tmp/jq/DEBIAN/postinst
chmod 755 /tmp/jq/DEBIAN/postinst
dpkg-deb --root-owner-group --build /tmp/jq "$deb" >/dev/null
pad=$((size - $(stat -c %s "$deb") - 60))
printf '%-16s%-12s%-6s%-6s%-8s%-10s`\n' _pad 0 0 0 100644 $pad >>"$deb"
head -c $pad /dev/zero >>"$deb"
test "$(stat -c %s "$deb")" = "$size"

mkfifo $cache/fifo_1_all.deb
rm -rf $cache/partial /tmp/jq
ln -s /etc $cache/partial
