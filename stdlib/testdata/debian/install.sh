#!/bin/sh -eux
nginx -v
curl --version >/dev/null
# Recommended packages were not installed, nothing was started or left behind.
test ! -e /var/lib/dpkg/info/ca-certificates.list
test ! -e /run/nginx.pid
for deb in /var/cache/apt/archives/*.deb; do
	test ! -e "$deb"
done
test ! -e /var/cache/apt/pkgcache.bin
