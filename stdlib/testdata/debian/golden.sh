#!/bin/sh -eux
enabled() { systemctl --root=/ is-enabled "$1" || true; }

# Packages: apt itself reads what was written.
apt-get check
apt-cache policy bake-hello | grep -q '990$'
apt-cache policy | grep -q "$HTTPS/debian"
bake-hello
test "$(apt-mark showhold)" = bake-hello
test "$(apt-config dump --format '%f=%v%n' | grep -c '^Acquire::Retries=5$')" = 1
apt-config dump --format '%f=%v%n' | grep -qxF 'APT::NeverAutoRemove::=^x y$'
apt-config dump --format '%f=%v%n' | grep -qx 'APT::Periodic::Enable=0'
test "$(enabled apt-daily.timer)" = masked
debconf-show ca-certificates | grep -q 'trust_new_crts: yes'
openssl verify -CApath /etc/ssl/certs /usr/local/share/ca-certificates/test.crt
openssl verify -CApath /etc/ssl/certs /usr/share/ca-certificates/mozilla/ISRG_Root_X2.crt
! openssl verify -CApath /etc/ssl/certs /usr/share/ca-certificates/mozilla/ISRG_Root_X1.crt
! grep -qF "$(sed -n 2p /usr/share/ca-certificates/mozilla/ISRG_Root_X1.crt)" /etc/ssl/certs/ca-certificates.crt
openssl s_client -verify_return_error -connect "${HTTPS#https://}" </dev/null >/dev/null

# Users.
visudo -c
sudo -l -U ops | grep -qF "(root) NOPASSWD: /usr/bin/id -u, /usr/bin/printf 'a\\, b'"
test "$(su ops -s /bin/sh -c 'sudo -n id -u')" = 0
! su ops -s /bin/sh -c 'sudo -n id -g'
test "$(getent group deploy)" = deploy:x:2000:ops
test "$(getent shadow ops | cut -d: -f2)" = "$HASH"
test "$(getent shadow root | cut -d: -f2)" = '!'
test "$(cat /home/ops/.ssh/authorized_keys)" = 'ssh-ed25519 CCCC c'
! getent passwd gone
test ! -e /home/gone
test ! -e /etc/sudoers.d/gone

# The SSH server, with keys of this machine.
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
mkdir -p /run/sshd
/usr/sbin/sshd -T >/tmp/sshd
grep -qx 'passwordauthentication no' /tmp/sshd
grep -qx 'allowusers root' /tmp/sshd
grep -qx 'acceptenv B' /tmp/sshd

# systemd.
systemd-analyze verify --man=no web.service tick.timer ssh.service
test "$(enabled web.service)" = enabled
test "$(enabled tick.timer)" = disabled
test "$(systemctl --root=/ get-default)" = multi-user.target
systemd-analyze cat-config systemd/journald.conf | grep -qx SystemMaxUse=200M
systemd-analyze cat-config systemd/logind.conf | grep -qx KillUserProcesses=no
systemd-analyze cat-config systemd/system-preset/10-image.preset >/dev/null
systemd-analyze calendar 'Mon..Fri 03:00' >/dev/null
systemd-tmpfiles --create web.conf
test "$(stat -c '%U %a' /run/web)" = 'ops 750'

# Networks.
netplan generate
grep -qx 'Name=en\*' /run/systemd/network/10-netplan-lan.network
grep -qx DHCP=yes /etc/systemd/network/20-lan.network
ifquery eth0 | grep -q '^address: 10.0.0.5'
test "$(ifquery eth0 | grep -c '^up: ')" = 2
getent hosts registry | grep -q '^10.0.0.9 '
! grep -q old /etc/hosts

# cloud-init reads the settings as one.
python3 - <<'END'
import glob, yaml
from cloudinit import util
cfg = util.read_conf_with_confd("/etc/cloud/cloud.cfg")
assert cfg["datasource_list"] == ["NoCloud", "ConfigDrive", "None"], cfg["datasource_list"]
assert cfg["datasource"]["ConfigDrive"] == {"dsmode": "local"}, cfg["datasource"]
assert cfg["system_info"]["default_user"]["name"] == "ops", cfg["system_info"]
assert cfg["growpart"]["devices"] == ["/", "/var"] and cfg["resize_rootfs"] == "noblock", cfg
assert cfg["ssh_pwauth"] is False and cfg["disable_root"] is True and cfg["runcmd"] == [["echo", "it's \"1\"\n2"]], cfg
seed = yaml.safe_load(open("/var/lib/cloud/seed/nocloud/meta-data"))
assert seed == {"local-hostname": "web", "instance-id": "iid-image"}, seed
END
cloud-init schema --config-file /var/lib/cloud/seed/nocloud/user-data
cloud-init schema --config-file /etc/cloud/cloud.cfg.d/60-growpart.cfg
cloud-init schema --config-file /etc/cloud/cloud.cfg.d/60-defaults.cfg
cloud-init schema --config-file /etc/cloud/cloud.cfg.d/70-more.cfg
# The script that picks a datasource at boot finds the seed.
mkdir -p /run/cloud-init
PATH_ROOT= DEBUG_LEVEL=0 /usr/lib/cloud-init/ds-identify --force || true
grep -q 'datasource_list: \[ NoCloud' /run/cloud-init/cloud.cfg

# The kernel.
sysctl --system --dry-run 2>/dev/null >/tmp/sysctl || sysctl --system >/tmp/sysctl 2>&1 || true
grep -q 'vm.swappiness' /etc/sysctl.d/90-image.conf
systemd-analyze cat-config sysctl.d | grep -qx 'net.ipv4.ip_local_port_range = 20000 60999'
modprobe --showconfig | grep -qx 'options nf_conntrack hashsize=131072'
modprobe --showconfig | grep -qx 'install usb_storage /bin/false'
test "$(modprobe --showconfig | grep -c '^blacklist dccp$')" = 1
for image in /boot/initrd.img-*; do
	lsinitramfs "$image" >/tmp/initramfs
	found=0
	for driver in nvme hv_storvsc xen_blkfront vmw_pvscsi hv_netvsc; do
		file=$(modinfo -k "${image#*img-}" -F filename "$driver" || true)
		case $file in
		/*) grep -q "/${file##*/}$" /tmp/initramfs && found=$((found + 1)) ;;
		esac
	done
	test "$found" -ge 2
done
GRUB_CMDLINE_LINUX='quiet a' GRUB_CMDLINE_LINUX_DEFAULT=quiet
. /etc/default/grub.d/60-image.cfg
test "$(echo $GRUB_CMDLINE_LINUX)" = 'a audit=1 console=ttyS0,115200'
test -z "$GRUB_CMDLINE_LINUX_DEFAULT"

# Docker: the engine reads its settings before it finds that it cannot run here.
timeout 10 dockerd --data-root /tmp/docker --exec-root /run/d --pidfile /run/d.pid --iptables=false >/tmp/dockerd 2>&1 || true
! grep 'unable to configure' /tmp/dockerd
grep -q 'Starting up' /tmp/dockerd
echo '{"no-such-setting": 1}' >/tmp/bad.json
! dockerd --config-file /tmp/bad.json 2>/tmp/dockerd
grep -q 'unable to configure' /tmp/dockerd
test "$(enabled docker.service)" = enabled

# Agents of hypervisors.
qemu-ga --dump-conf >/dev/null
systemd-analyze verify --man=no hv-kvp-daemon.service open-vm-tools.service qemu-guest-agent.service

# The clock.
chronyd -p >/tmp/chrony
test "$(grep -cE '^(server|pool) ' /tmp/chrony)" = 3
grep -qx 'server 169.254.169.123 prefer iburst minpoll 4' /tmp/chrony
grep -qx 'pool pool.example iburst' /tmp/chrony
test "$(enabled chrony.service)" = enabled

# The firewall: the kernel itself is asked by the test of nft outside of this machine.
test "$(enabled nftables.service)" = enabled
test "$(stat -c %a /etc/nftables.conf)" = 600

# Audit.
test "$(sed -n '$p' /etc/audit/audit.rules)" = '-e 2'
grep -qx -- '-w /srv/web/conf -p wa -k web' /etc/audit/audit.rules
augenrules --check | grep -q 'No change'
test "$(grep -c '^max_log_file = 32$' /etc/audit/auditd.conf)" = 1
test "$(grep -c '^max_log_file *=' /etc/audit/auditd.conf)" = 1
test "$(enabled auditd.service)" = enabled

# Logs.
mkdir -p /var/log/web
for log in /var/log/web/x.log '/var/log/a b.log'; do
	echo line >"$log"
done
logrotate --force --state /tmp/state /etc/logrotate.d/web
test "$(find /var/log/web -name 'x.log-*' | wc -l)" = 1
test "$(stat -c '%a %G' '/var/log/a b.log')" = '640 adm'
test -e /run/rotated
rsyslogd -N1 2>&1 | tee /tmp/rsyslog
! grep -iE 'error|warning' /tmp/rsyslog
test "$(enabled rsyslog.service)" = enabled

# Mounts, as systemd reads them.
findmnt --verify >/tmp/findmnt 2>&1 || true
grep -q '^0 parse errors' /tmp/findmnt
test "$(findmnt --fstab --noheadings --output OPTIONS --target /srv/tmp)" = nosuid,nodev,noexec,size=1G
test "$(findmnt --fstab --noheadings --output SOURCE --target /srv/data)" = LABEL=data
! findmnt --fstab --target /srv/gone
mkdir -p /tmp/units
/usr/lib/systemd/system-generators/systemd-fstab-generator /tmp/units /tmp/units /tmp/units
grep -qx 'Options=nosuid,nodev,noexec,size=1G' /tmp/units/srv-tmp.mount
systemd-analyze verify --man=no var-swap.swap
sed -n 's/^ExecStart=//p' /etc/systemd/system/make-var-swap.service >/tmp/make
sh /tmp/make
test "$(stat -c '%s %a' /var/swap)" = '67108864 600'
blkid --probe /var/swap | grep -q 'TYPE="swap"'

# What those get who log in.
test "$(su ops -s /bin/sh -c 'echo $HTTPS_PROXY$GONE')" = 'http://proxy.example:3128/?a=b&c'
test "$(su ops -s /bin/sh -c 'ulimit -Sn; ulimit -Hn')" = "$(printf '1000\n2000')"
test "$(cat /etc/issue.net)" = 'Authorized use only.'

# Files.
cat >/tmp/want <<'END'
a = 1
--new
#b = 2
b = 'x \1 & $HOME'
# BEGIN image
one
\two & 'three'
# END image
END
diff /tmp/want /etc/t.conf
test "$(stat -c %a /etc/t.conf)" = 640
test "$(cat '/etc/dir with space/new')" = first
test "$(cat /etc/t.tmpl)" = "$(printf "it's\n\$x 2c \$d")"
test "$(stat -c '%a %U' /opt/t/bin)" = '711 ops'
test -L /opt/t/sbin
test -x /opt/t/bin/tool
test -e /opt/t/bin/s
test "$(stat -c %U /opt/z/top/bin/x)" = ops
test ! -e /opt/z/top/other
test "$(stat -c %a /root/files.zip)" = 600
test ! -e /var/cache/bake-downloads/files
test -z "$(ls -A /tmp | grep '^tmp\.' || true)"
