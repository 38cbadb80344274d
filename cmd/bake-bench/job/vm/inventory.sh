#!/bin/sh
# Writes down what the image consists of.
set -e
dpkg-query --show >/var/lib/image-packages
find /usr/bin /usr/sbin /opt -xdev -type f -exec md5sum {} + >/var/lib/image-files
