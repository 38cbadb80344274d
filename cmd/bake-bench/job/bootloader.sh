#!/bin/sh
# Makes the disk that debos has mounted at $ROOTDIR boot by BIOS: extlinux in
# its root file system, and the code that starts it in the first sector.
set -eu
part=$(findmnt -no SOURCE "$ROOTDIR")
disk=${part%p*}
mkdir -p "$ROOTDIR/boot/extlinux"
extlinux --install "$ROOTDIR/boot/extlinux"
dd if=/usr/lib/syslinux/mbr/gptmbr.bin of="$disk" bs=440 count=1 conv=notrunc status=none
id=$(blkid -p -o value -s PART_ENTRY_UUID "$part")
cat > "$ROOTDIR/boot/extlinux/extlinux.conf" <<END
default linux
label linux
  kernel /vmlinuz
  initrd /initrd.img
  append root=PARTUUID=$id ro console=ttyS0
END
