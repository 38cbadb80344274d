# Copies the first file system with /etc and /usr of a raw disk. Started as the
# first process of namespaces of its own, so that the mount and, by that, the
# loop device go with it. Arguments: the disk, the empty tree, and
# fstype:start:size of each file system to try.
set -u
disk=$1
tree=$2
shift 2
mount --make-rprivate / || exit 1
tried=
for candidate in "$@"; do
	type=${candidate%%:*}
	rest=${candidate#*:}
	case $type in
	ext4) more=,noload ;; # a journal left by a crash is not played back
	xfs) more=,norecovery,nouuid ;;
	*) more= ;;
	esac
	if ! why=$(mount -t "$type" -o "ro,nodev,nosuid,noexec,loop,offset=${rest%:*},sizelimit=${rest#*:}$more" "$disk" mnt 2>&1); then
		tried="$tried $type at ${rest%:*}: $(echo "$why" | head -n 1);"
		continue
	fi
	if [ -d mnt/etc ] && [ -d mnt/usr ]; then
		LC_ALL=C.UTF-8 cp --archive --sparse=auto -- mnt/. "$tree" || exit 1
		rmdir "$tree/lost+found" 2>/dev/null
		umount mnt
		exit 0
	fi
	umount mnt
	tried="$tried $type at ${rest%:*}: has no /etc and /usr;"
done
echo "no root file system:${tried%;}" >&2
exit 1
