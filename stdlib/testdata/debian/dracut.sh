#!/bin/sh -eux
for image in /boot/initrd.img-*; do
	lsinitrd "$image" >/tmp/initramfs
	for module in xen_blkfront hv_netvsc dm_crypt; do
		file=$(modinfo -k "${image#*img-}" -F filename "$module")
		case $file in
		/*) grep -q "/${file##*/}$" /tmp/initramfs ;;
		esac
	done
	grep -q '/dm-crypt\.ko' /tmp/initramfs
done
