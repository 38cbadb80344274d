#!/usr/bin/env bash
# Boots a disk under QEMU, waits until its web server answers, and stops it.
# Nothing is written to the disk.
#   boot.sh DISK [TEXT]
# BOOT_FIRMWARE=uefi boots by OVMF instead of by SeaBIOS, BOOT_TIMEOUT is in
# seconds.
set -euo pipefail
disk=${1:?usage: boot.sh DISK [TEXT]}
text=${2:-hello from an image that bake built}
limit=${BOOT_TIMEOUT:-300} # software emulation on a busy machine is slow
firmware=()
if [ "${BOOT_FIRMWARE:-bios}" = uefi ]; then
  firmware=(-bios /usr/share/ovmf/OVMF.fd)
fi

console=$(mktemp)
port=$((20000 + RANDOM % 20000))
qemu-system-x86_64 -nodefaults -display none "${firmware[@]}" -accel tcg -cpu max,la57=off -smp 2 -m 1024 \
  -drive "file=$disk,if=virtio,snapshot=on" -serial "file:$console" \
  -nic "user,model=virtio,hostfwd=tcp:127.0.0.1:$port-:80" 2>/dev/null &
qemu=$!
trap 'kill $qemu 2>/dev/null || true; wait $qemu 2>/dev/null || true; rm -f "$console"' EXIT

echo "boot: $disk is starting (software emulation: about half a minute)"
start=$SECONDS
while [ $((SECONDS - start)) -lt "$limit" ]; do
  if ! kill -0 $qemu 2>/dev/null; then
    echo "boot: QEMU ended by itself; the console's last lines:" >&2
    tail -n 20 "$console" >&2
    exit 1
  fi
  if page=$(curl -fsS --max-time 5 "http://127.0.0.1:$port/" 2>/dev/null); then
    if grep -q "$text" <<<"$page"; then
      echo "boot: http://127.0.0.1:$port/ answered after $((SECONDS - start)) s: $text"
      exit 0
    fi
    echo "boot: the web server answered with another page:" >&2
    echo "$page" >&2
    exit 1
  fi
  sleep 1
done
echo "boot: no answer within $limit s; the console's last lines:" >&2
tail -n 20 "$console" >&2
exit 1
