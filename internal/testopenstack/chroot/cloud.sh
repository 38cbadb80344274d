#!/bin/bash
# Runs an OpenStack on the loopback, inside a root directory with its packages.
#
#   cloud.sh prepare     make the databases, once, in the root directory itself
#   cloud.sh serve       run the services on the ports P0 to P9, until it is ended
#
# All that is written lies in /srv/os.
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 PYTHONPATH=/srv/os/python PYTHONDONTWRITEBYTECODE=1 TMPDIR=/tmp HOME=/root
S=/srv/os L=/srv/os/log R=/srv/os/run
P0=${P0:-5000} P1=${P1:-9292} P2=${P2:-9293} P3=${P3:-8778} P4=${P4:-9696} P5=${P5:-8774} P6=${P6:-8776} P7=${P7:-5672} P8=${P8:-25672} P9=${P9:-4369}
H=http://127.0.0.1

db() { echo "mysql+pymysql://os:pw@localhost/$1?unix_socket=$R/my.sock&charset=utf8"; }

# user NAME: how a service tells Keystone who it is.
user() {
  cat <<END
www_authenticate_uri = $H:$P0/v3
auth_url = $H:$P0/v3
auth_type = password
username = $1
password = pw
project_name = service
user_domain_name = Default
project_domain_name = Default
region_name = RegionOne
END
}

common() { # of oslo: NAME
  echo "[DEFAULT]
log_file = $L/$1.log
use_stderr = false
debug = false
transport_url = rabbit://guest:guest@127.0.0.1:$P7/
state_path = $S/$1
[oslo_concurrency]
lock_path = $S/lock
[keystone_authtoken]
$(user "$1")
service_token_roles = service
service_token_roles_required = true"
}

configure() {
  mkdir -p $L $R $S/lock $S/nova $S/host2/instances $S/cinder $S/neutron $S/machines $S/volumes $S/store $S/stage $S/tasks $S/store2 $S/stage2 $S/tasks2 $S/fernet $S/credentials $S/conversion
  echo "[database]
connection = $(db keystone)
[token]
provider = fernet
expiration = 7200
[fernet_tokens]
key_repository = $S/fernet
[fernet_receipts]
key_repository = $S/fernet
[credential]
key_repository = $S/credentials
[identity]
password_hash_rounds = 4" >$S/keystone.conf
  for n in "" 2; do
    local port=$P1
    [ -z "$n" ] || port=$P2
    { common glance; echo "[DEFAULT]
bind_host = 127.0.0.1
bind_port = $port
workers = 0
log_file = $L/glance$n.log
enabled_backends = files:file
enabled_import_methods = [${n:+web-download}${n:-glance-direct,web-download}]
[database]
connection = $(db glance$n)
[glance_store]
default_backend = files
[files]
filesystem_store_datadir = $S/store$n
[os_glance_staging_store]
filesystem_store_datadir = $S/stage$n
[os_glance_tasks_store]
filesystem_store_datadir = $S/tasks$n
[oslo_limit]
[import_filtering_opts]
allowed_hosts = [127.0.0.1]
allowed_ports = []
[image_format]
disk_formats = raw,qcow2,vmdk,vhd,${n:+vdi}${n:-vdi,vhdx},ami,ari,aki,iso
[paste_deploy]
flavor = keystone
config_file = /etc/glance/glance-api-paste.ini"; } | sed "s/web-download2/web-download/; s/vdi2/vdi/" >$S/glance$n.conf
  done
  { common placement; echo "[api]
auth_strategy = keystone
[placement_database]
connection = $(db placement)"; } >$S/placement.conf
  { common neutron; echo "[DEFAULT]
bind_host = 127.0.0.1
bind_port = $P4
core_plugin = ml2
service_plugins = router
auth_strategy = keystone
api_workers = 0
rpc_workers = 0
rpc_state_report_workers = 0
notify_nova_on_port_status_changes = true
notify_nova_on_port_data_changes = true
api_paste_config = /etc/neutron/api-paste.ini
dhcp_agent_notification = false
[database]
connection = $(db neutron)
[nova]
$(user nova)
[ml2]
type_drivers = local
tenant_network_types = local
mechanism_drivers = emulated
extension_drivers = port_security
[securitygroup]
enable_security_group = true
firewall_driver = noop"; } >$S/neutron.conf
  { common nova; echo "[DEFAULT]
my_ip = 127.0.0.1
host = host1
enabled_apis = osapi_compute
osapi_compute_listen = 127.0.0.1
osapi_compute_listen_port = $P5
osapi_compute_workers = 1
compute_driver = test.Driver
vif_plugging_is_fatal = false
vif_plugging_timeout = 0
[api]
auth_strategy = keystone
[api_database]
connection = $(db nova_api)
[database]
connection = $(db nova)
[conductor]
workers = 1
[scheduler]
workers = 1
discover_hosts_in_cells_interval = 2
[filter_scheduler]
enabled_filters = ComputeFilter,IsolatedHostsFilter,ServerGroupAffinityFilter
isolated_hosts = host2
track_instance_changes = false
[placement]
$(user placement)
[neutron]
$(user neutron)
[glance]
api_servers = $H:$P1
[cinder]
catalog_info = volumev3::publicURL
$(user cinder)
[service_user]
send_service_user_token = true
$(user nova)
[vnc]
enabled = false
[wsgi]
api_paste_config = /etc/nova/api-paste.ini"; } >$S/nova.conf
  # The host of real machines gets none but those that ask for it: nova:host2.
  { sed "s/^host = .*/host = host2/; s/^compute_driver = .*/compute_driver = libvirt.LibvirtDriver/; s/nova.log/nova-host2.log/; s,^state_path.*,state_path = $S/host2," $S/nova.conf; echo "[libvirt]
virt_type = qemu
cpu_mode = none
images_type = qcow2
inject_partition = -2"; } >$S/nova-host2.conf
  { common cinder; echo "[DEFAULT]
my_ip = 127.0.0.1
host = host1
osapi_volume_listen = 127.0.0.1
osapi_volume_listen_port = $P6
osapi_volume_workers = 1
auth_strategy = keystone
enabled_backends = files
glance_api_servers = $H:$P1
image_conversion_dir = $S/conversion
api_paste_config = /etc/cinder/api-paste.ini
[database]
connection = $(db cinder)
[files]
volume_driver = cinder_files.Driver
volume_backend_name = files"; } >$S/cinder.conf
  # The last of several sections of one name counts as well as the first.
  mkdir -p $S/python/test-1.dist-info
  cp /bake/neutron_ports.py /bake/cinder_files.py $S/python/
  printf 'Metadata-Version: 2.1\nName: test\nVersion: 1\n' >$S/python/test-1.dist-info/METADATA
  printf '[neutron.ml2.mechanism_drivers]\nemulated = neutron_ports:Driver\n' >$S/python/test-1.dist-info/entry_points.txt
  cp /bake/nova_emulator.py /usr/lib/python3/dist-packages/nova/virt/test.py
}

# port PORT: waits until something listens.
port() {
  for _ in $(seq 1200); do (: </dev/tcp/127.0.0.1/"$1") 2>/dev/null && return; sleep 0.05; done
  echo "nothing listens on port $1"; exit 1
}

start_database() {
  mkdir -p $R $L /run/mysqld
  chmod 777 $R $L
  mariadbd --no-defaults --user=mysql --datadir=$S/mysql --socket=$R/my.sock --skip-networking --pid-file=$R/my.pid \
    --innodb-flush-log-at-trx-commit=0 --innodb-doublewrite=0 --sync-binlog=0 --max-connections=400 >$L/mysql.log 2>&1 &
  for _ in $(seq 600); do mysqladmin -S $R/my.sock -u root ping >/dev/null 2>&1 && return; sleep 0.05; done
  echo "the database does not start"; exit 1
}

keystone() {
  OS_KEYSTONE_CONFIG_DIR=$S OS_KEYSTONE_CONFIG_FILES=keystone.conf uwsgi --plugin python311 --http-socket 127.0.0.1:"$P0" --wsgi-file /usr/bin/keystone-wsgi-public \
    --processes 2 --threads 1 --master --die-on-term --need-app --buffer-size 65535 --post-buffering 65536 --add-header 'Connection: close' >$L/keystone-out.log 2>&1 &
  port "$P0"
}

# catalog: users of the services, and where they are.
catalog() {
  export OS_AUTH_URL=$H:$P0/v3 OS_USERNAME=admin OS_PASSWORD=pw OS_PROJECT_NAME=admin OS_USER_DOMAIN_NAME=Default OS_PROJECT_DOMAIN_NAME=Default OS_IDENTITY_API_VERSION=3
  {
    echo "project create service"
    echo "project create other"
    echo "region create RegionTwo"
    for u in glance placement neutron nova cinder; do
      echo "user create --password pw $u"
      echo "role add --project service --user $u admin"
    done
    echo "role create service"
    for u in nova cinder glance neutron; do echo "role add --project service --user $u service"; done
    echo "service create --name glance image"
    echo "service create --name placement placement"
    echo "service create --name neutron network"
    echo "service create --name nova compute"
    echo "service create --name cinder volumev3"
    echo "endpoint create --region RegionTwo image public $H:$P2"
    while read -r name url; do
      for i in public internal; do echo "endpoint create --region RegionOne $name $i $url"; done
    done <<END
image $H:$P1
placement $H:$P3
network $H:$P4
compute $H:$P5/v2.1
volumev3 $H:$P6/v3/%(project_id)s
END
    echo "user create --password pw --project other somebody"
    echo "role add --project other --user somebody member"
  } | openstack >$L/catalog.log 2>&1
}

prepare() {
  find $S -mindepth 1 -delete
  mkdir -p $S/mysql
  chown mysql $S/mysql
  mysql_install_db --user=mysql --datadir=$S/mysql --auth-root-authentication-method=normal --skip-test-db
  configure
  chmod 700 $S/fernet $S/credentials
  start_database
  for d in keystone glance glance2 placement neutron nova_api nova nova_cell0 cinder; do
    echo "create database $d character set utf8; grant all on $d.* to 'os'@'localhost' identified by 'pw';"
  done | mysql -S $R/my.sock -u root
  k="keystone-manage --config-file $S/keystone.conf"
  $k db_sync
  $k fernet_setup --keystone-user root --keystone-group root
  $k credential_setup --keystone-user root --keystone-group root
  $k bootstrap --bootstrap-password pw --bootstrap-region-id RegionOne --bootstrap-public-url $H:$P0/v3 --bootstrap-internal-url $H:$P0/v3 --bootstrap-admin-url $H:$P0/v3
  keystone; catalog
  {
    glance-manage --config-file $S/glance.conf db_sync
    glance-manage --config-file $S/glance2.conf db_sync
    placement-manage --config-file $S/placement.conf db sync
    neutron-db-manage --config-file $S/neutron.conf upgrade heads
    cinder-manage --config-file $S/cinder.conf db sync
    n="nova-manage --config-file $S/nova.conf"
    $n api_db sync
    $n cell_v2 map_cell0 --database_connection "$(db nova_cell0)"
    $n cell_v2 create_cell --name cell1 --database_connection "$(db nova)" --transport-url "rabbit://guest:guest@127.0.0.1:$P7/"
    $n db sync
  } >$L/schemas.log 2>&1
  mysqladmin -S $R/my.sock -u root shutdown
  wait 2>/dev/null & sleep 1
  for pid in $(jobs -p); do kill "$pid" 2>/dev/null || true; done
  echo "$P0 $P1 $P2 $P3 $P4 $P5 $P6 $P7" >$S/prepared
}

# move: the catalog, and Nova's cells, name the ports of the day.
move() {
  read -r -a old <$S/prepared
  new=("$P0" "$P1" "$P2" "$P3" "$P4" "$P5" "$P6" "$P7")
  for i in 0 1 2 3 4 5 6; do
    echo "update keystone.endpoint set url = replace(url, '127.0.0.1:${old[i]}', '127.0.0.1:@${new[i]}');"
  done
  echo "update keystone.endpoint set url = replace(url, '@', '');"
  echo "update nova_api.cell_mappings set transport_url = replace(transport_url, '127.0.0.1:${old[7]}', '127.0.0.1:${new[7]}');"
}

# limits: the second Glance asks Keystone for the quotas of projects.
limits() {
  local id
  id=$(echo "select id from keystone.endpoint where interface = 'public' and url = '$H:$P2'" | mysql -N -S $R/my.sock -u root)
  echo "[DEFAULT]
use_keystone_limits = true
[oslo_limit]
auth_url = $H:$P0/v3
auth_type = password
username = glance
password = pw
user_domain_name = Default
system_scope = all
endpoint_id = $id" >>$S/glance2.conf
}

rabbit() {
  mkdir -p $S/rabbit
  echo '[].' >$S/rabbit/plugins
  chown -R rabbitmq $S/rabbit
  HOME=$S/rabbit ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$P9 RABBITMQ_NODENAME=bake@localhost RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT=$P7 \
    RABBITMQ_DIST_PORT=$P8 RABBITMQ_MNESIA_BASE=$S/rabbit/db RABBITMQ_LOG_BASE=$L RABBITMQ_PID_FILE=$S/rabbit/pid RABBITMQ_ENABLED_PLUGINS_FILE=$S/rabbit/plugins \
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}" rabbitmq-server >$L/rabbit-out.log 2>&1 &
}

wsgi() { # NAME PORT FILE
  OS_PLACEMENT_CONFIG_DIR=$S uwsgi --plugin python311 --http-socket 127.0.0.1:"$2" --wsgi-file "$3" \
    --processes 1 --master --die-on-term --need-app --buffer-size 65535 --post-buffering 65536 >$L/"$1"-out.log 2>&1 &
}

run() { # PROGRAM NAME
  "$1" --config-file $S/"$2".conf >$L/"$1"-out.log 2>&1 &
}

# hypervisor: libvirt, and Nova's own driver of it, with QEMU that emulates the processor.
hypervisor() {
  mkdir -p /run/libvirt
  mountpoint -q /sys || mount -t sysfs sysfs /sys
  printf '%s\n' 'user = "root"' 'group = "root"' 'security_driver = "none"' 'stdio_handler = "file"' 'remember_owner = 0' 'namespaces = []' >/etc/libvirt/qemu.conf
  libvirtd >$L/libvirt-out.log 2>&1 &
  for _ in $(seq 200); do [ -S /run/libvirt/libvirt-sock ] && break; sleep 0.05; done
  run nova-compute nova-host2
}

serve() {
  configure
  start_database
  move | mysql -S $R/my.sock -u root
  [ "${ONLY:-}" = images ] || { rabbit; limits; }
  keystone
  run glance-api glance
  glance-api --config-file $S/glance2.conf >$L/glance2-out.log 2>&1 &
  if [ "${ONLY:-}" != images ]; then
    wsgi placement "$P3" /usr/bin/placement-api
    port "$P7"
    run neutron-server neutron
    run nova-api nova
    run nova-conductor nova
    run nova-scheduler nova
    run cinder-api cinder
    run cinder-scheduler cinder
    run cinder-volume cinder
    port "$P3"; port "$P5"
    run nova-compute nova
    hypervisor &
    port "$P4"; port "$P6"
  fi
  port "$P1"; port "$P2"
  echo ready
  wait
}

"$1"
