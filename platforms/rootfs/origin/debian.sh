# Installs Debian with mmdebstrap. Started as the first process of new mount,
# pid, ipc and uts namespaces, in a scratch directory on the store's file
# system; called again by mmdebstrap at its hooks.
#
# From bake: BAKE_SCRATCH the scratch directory, which holds sources.list,
# initramfs-hook and perhaps keyring.gpg; BAKE_PROXY the caching mirror;
# BAKE_OVERLAY more options of the overlay; BAKE_DOCS and BAKE_MODULES the
# options docs and initramfs; BAKE_DISTRO debian or ubuntu; BAKE_INCLUDE the packages; BAKE_LINKS the
# directories of a merged /usr. The arguments after the phase are mmdebstrap's.
set -eu
phase=$1
shift

run() {
	mount --make-rprivate /
	# A fresh /proc shows no processes of the host; some hosts forbid it.
	mount -t proc proc /proc 2>/dev/null || true
	reachable
	mkdir lower work root
	# On a volatile overlay every fsync of dpkg is free, and what is written is
	# in its final place already.
	target=$BAKE_SCRATCH/root
	if ! mount -t overlay -o "lowerdir=lower,upperdir=upper,workdir=work,volatile$BAKE_OVERLAY" overlay root 2>/dev/null; then
		target=$BAKE_SCRATCH/upper
	fi
	hook='sh "$BAKE_SCRATCH/debian.sh"'
	mmdebstrap --verbose --mode=root --format=directory \
		--skip=check/signed-by --skip=cleanup/apt/lists \
		--setup-hook="$hook setup \"\$1\"" \
		--extract-hook="$hook extract \"\$1\"" \
		--customize-hook="$hook customize \"\$1\"" \
		"$@" "$BAKE_SUITE" "$target" <sources.build -
	if [ "$target" != "$BAKE_SCRATCH/upper" ]; then
		umount root
	fi
}

# reachable gives apt, which drops its privileges, a way to the scratch directory
# that nobody outside of this mount namespace has: the uppermost directory above
# it that is closed to others is covered with an open one, which leads to the
# scratch directory alone.
reachable() {
	chmod 755 .
	if [ -e keyring.gpg ]; then
		chmod 644 keyring.gpg
	fi
	closed= above=$BAKE_SCRATCH
	while above=${above%/*} && [ -n "$above" ]; do
		case $(stat -c %A "$above") in
		*[xt]) ;;
		*) closed=$above ;;
		esac
	done
	[ -n "$closed" ] || return 0
	mount -t tmpfs -o mode=755,nosuid,nodev bake "$closed"
	mkdir -p "$BAKE_SCRATCH"
	mount -c --bind . "$BAKE_SCRATCH" # -c: the name of "." leads to the cover by now
	cd "$BAKE_SCRATCH"
}

setup() {
	mkdir -p "$1/etc/apt/apt.conf.d" "$1/etc/apt/preferences.d"
	# The dates of release files were checked when they were pinned. Indices
	# are kept compressed: they stay in the layer.
	cat >"$1/etc/apt/apt.conf.d/00bake" <<-END
		Acquire::http::Proxy "$BAKE_PROXY";
		Acquire::Check-Valid-Until "false";
		Acquire::Check-Date "false";
		Acquire::Retries "1";
		Acquire::GzipIndexes "true";
		Acquire::IndexTargets::deb::Packages::KeepCompressedAs "lz4";
	END
	# /usr is merged from the start, so that usrmerge, which merges later and
	# needs the whole of Perl, is not wanted.
	case "$BAKE_DISTRO $BAKE_INCLUDE " in
	ubuntu* | *" usrmerge "*) ;;
	*) printf 'Package: usrmerge\nPin: release *\nPin-Priority: -1\n' >"$1/etc/apt/preferences.d/00bake" ;;
	esac
	for dir in $BAKE_LINKS; do
		mkdir -p "$1/usr/$dir"
		ln -s "usr/$dir" "$1/$dir"
	done
}

extract() {
	mkdir -p "$1/etc/dpkg/dpkg.cfg.d"
	echo force-unsafe-io >"$1/etc/dpkg/dpkg.cfg.d/00bake"
	if [ -z "$BAKE_DOCS" ]; then
		cat >"$1/etc/dpkg/dpkg.cfg.d/no-docs" <<-END
			# Documentation and translations are not unpacked. Remove this file
			# and reinstall a package to have its own.
			path-exclude=/usr/share/doc/*
			path-include=/usr/share/doc/*/copyright
			path-exclude=/usr/share/man/*
			path-exclude=/usr/share/info/*
			path-exclude=/usr/share/locale/*
			path-include=/usr/share/locale/locale.alias
			path-include=/usr/share/locale/en*
		END
		echo 'Acquire::Languages "none";' >"$1/etc/apt/apt.conf.d/no-docs"
		# What was extracted so far is now installed properly, by these rules.
		rm -rf "$1/usr/share/doc" "$1/usr/share/man" "$1/usr/share/info" "$1/usr/share/locale"
	fi
	# bake downloads the rest while the first packages are installed.
	if [ -n "$BAKE_INCLUDE" ]; then
		(
			APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get --yes --print-uris install $BAKE_INCLUDE |
				sed -n "s/^'\([^']*\)' .*/\1/p" >"$BAKE_SCRATCH/uris.part" &&
				mv "$BAKE_SCRATCH/uris.part" "$BAKE_SCRATCH/uris"
		) </dev/null >/dev/null 2>&1 &
	fi
}

customize() {
	rm -f "$1/etc/apt/apt.conf.d/00bake" "$1/etc/apt/preferences.d/00bake" "$1/etc/dpkg/dpkg.cfg.d/00bake"
	rm -rf "$1/etc/apt/sources.list.d/"*
	cp "$BAKE_SCRATCH/sources.list" "$1/etc/apt/sources.list"
	if [ -e "$BAKE_SCRATCH/keyring.gpg" ]; then
		mkdir -p "$1/etc/apt/keyrings"
		cp "$BAKE_SCRATCH/keyring.gpg" "$1/etc/apt/keyrings/$BAKE_DISTRO-archive.gpg"
		chmod 644 "$1/etc/apt/keyrings/$BAKE_DISTRO-archive.gpg"
	fi
	chmod 644 "$1/etc/apt/sources.list"
	initramfs "$1"
	ssh_keys "$1"
	# Nothing of this host, nothing that machines may not share.
	# A link, such as that of systemd-resolved, is the image's own, and leads to the
	# host's files if it is absolute.
	if [ ! -L "$1/etc/resolv.conf" ]; then
		: >"$1/etc/resolv.conf"
		chmod 644 "$1/etc/resolv.conf"
	fi
	# Packages keep a copy of what they found there.
	find "$1/etc" -type f -size "$(wc -c </etc/resolv.conf)c" -exec cmp -s {} /etc/resolv.conf \; -print |
		while read -r copy; do
			: >"$copy"
			chmod 644 "$copy"
		done
	rm -f "$1/etc/hostname"
	echo localhost >"$1/etc/hostname"
	chmod 644 "$1/etc/hostname"
	if [ ! -e "$1/etc/hosts" ] && [ ! -L "$1/etc/hosts" ]; then
		printf '127.0.0.1\tlocalhost\n::1\t\tlocalhost ip6-localhost ip6-loopback\n' >"$1/etc/hosts"
	fi
	rm -f "$1/var/lib/systemd/random-seed" "$1/var/lib/systemd/credential.secret" \
		"$1/var/lib/dpkg/"*-old "$1/var/cache/debconf/"*-old "$1/etc/.pwd.lock" \
		"$1/var/log/bootstrap.log" "$1/var/log/fontconfig.log"
}

# initramfs makes the initramfs of every kernel, which INITRD=No held back while
# packages were configured, since each of them would have made it again.
initramfs() {
	unset INITRD
	if [ -d "$1/usr/share/initramfs-tools" ] && [ "$BAKE_MODULES" = vm ]; then
		mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/etc/initramfs-tools/hooks"
		cat >"$1/etc/initramfs-tools/conf.d/vm-drivers" <<-END
			# The drivers are those that hooks/vm-drivers names. Remove both files for
			# those of every machine.
			MODULES=list
		END
		cp "$BAKE_SCRATCH/initramfs-hook" "$1/etc/initramfs-tools/hooks/vm-drivers"
		chmod 755 "$1/etc/initramfs-tools/hooks/vm-drivers"
	fi
	for kernel in "$1"/boot/vmlinu?-*; do
		[ -e "$kernel" ] || continue
		version=${kernel##*/vmlinu?-}
		if [ ! -e "$1/boot/initrd.img-$version" ]; then
			if [ -x "$1/usr/sbin/update-initramfs" ]; then
				chroot "$1" update-initramfs -c -k "$version"
			elif [ -d "$1/etc/kernel/postinst.d" ]; then
				chroot "$1" run-parts --arg="$version" --arg="/boot/${kernel##*/}" /etc/kernel/postinst.d
			fi
		fi
		# Links to it are made when a kernel is installed, if it is there by then.
		for end in '' .old; do
			link=$1/vmlinuz$end
			if [ "$(readlink "$link")" = "boot/${kernel##*/}" ] && [ -e "$1/boot/initrd.img-$version" ]; then
				ln -sf "boot/initrd.img-$version" "$1/initrd.img$end"
			fi
		done
	done
}

# ssh_keys takes the host keys away, which are a machine's own, and has each
# machine make them at its first boot.
ssh_keys() {
	rm -f "$1"/etc/ssh/ssh_host_*_key "$1"/etc/ssh/ssh_host_*_key.pub
	if [ -e "$1/usr/sbin/sshd" ] && [ -d "$1/usr/lib/systemd/system" ]; then
		cp "$BAKE_SCRATCH/ssh-host-keys.service" "$1/etc/systemd/system/ssh-host-keys.service"
		chmod 644 "$1/etc/systemd/system/ssh-host-keys.service"
		mkdir -p "$1/etc/systemd/system/multi-user.target.wants"
		ln -sf ../ssh-host-keys.service "$1/etc/systemd/system/multi-user.target.wants/ssh-host-keys.service"
	fi
}

umask 022
case $phase in
run) run "$@" ;;
setup) setup "$@" ;;
extract) extract "$@" ;;
customize) customize "$@" ;;
esac
