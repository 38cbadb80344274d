# shellcheck shell=sh
# identity ACT calls the function ACT with each path that belongs to the machine's
# identity, relative to the current directory, which is the root of the machine's
# files. ACT takes the path away. Host keys are among them where something makes new
# ones. An empty machine-id is left where systemd is, which makes one at its start.
identity() {
	for identity_path in \
		var/lib/systemd/random-seed var/lib/urandom/random-seed var/lib/systemd/credential.secret \
		boot/efi/loader/random-seed boot/loader/random-seed efi/loader/random-seed \
		var/lib/dhcp/*.leases var/lib/dhclient/*.lease* var/lib/dhcpcd/*.lease var/lib/dhcpcd/duid \
		var/lib/NetworkManager/*.lease var/lib/NetworkManager/secret_key \
		var/lib/cloud/instance var/lib/cloud/instances var/lib/cloud/data var/lib/cloud/sem \
		var/log/cloud-init.log var/log/cloud-init-output.log; do
		identity_take "$1" "$identity_path"
	done
	# A link shares the other file's, and nothing makes a new one.
	[ -L var/lib/dbus/machine-id ] || identity_take "$1" var/lib/dbus/machine-id
	if identity_makes_keys; then
		for identity_path in etc/ssh/ssh_host_*_key etc/ssh/ssh_host_*_key.pub; do
			identity_take "$1" "$identity_path"
		done
	fi
	if [ -e etc/machine-id ] && { [ -d etc/systemd ] || command -v systemctl >/dev/null 2>&1; }; then
		"$1" etc/machine-id
		: >etc/machine-id
	fi
}

identity_take() {
	if [ -e "$2" ] || [ -L "$2" ]; then "$1" "$2"; fi
}

# identity_makes_keys tells whether the machine makes the host keys that it lacks.
identity_makes_keys() {
	if [ -d var/lib/cloud ] && command -v cloud-init >/dev/null 2>&1; then return 0; fi
	for identity_unit in ssh-host-keys sshd-keygen regenerate_ssh_host_keys; do
		for identity_dir in etc/systemd/system lib/systemd/system usr/lib/systemd/system; do
			if [ -e "$identity_dir/$identity_unit.service" ] || [ -e "$identity_dir/$identity_unit@.service" ]; then return 0; fi
		done
	done
	return 1
}

# identity_logs empties what tells of the time in which the image was made.
identity_logs() {
	rm -rf var/log/journal/*
	for identity_path in var/log/wtmp var/log/btmp var/log/lastlog; do
		[ ! -f "$identity_path" ] || : >"$identity_path"
	done
}
