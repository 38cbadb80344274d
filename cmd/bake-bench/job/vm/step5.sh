#!/bin/sh
# Some work for the processor and some for the disk.
set -e
for part in bin sbin lib/systemd; do
	tar -c /usr/$part | md5sum >>/var/lib/bench-5
done
dd if=/dev/urandom of=/var/lib/bench-5.data bs=64k count=16 2>/dev/null
