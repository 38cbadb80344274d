#!/bin/sh
# Installs the packages of the golden image.
set -e
echo nameserver 10.0.2.3 >/etc/resolv.conf
apt-get update -q
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends nginx-light curl jq
