#!/bin/sh
# machine.sh CGROUP FOLDER LAYERS ID NAME ADDRESS BOOTS_FILE PUBLIC_KEY_FILE [NSPAWN_OPTION...]
# Runs one machine until it powers off.
set -eu
cgroup=$1 folder=$2 layers=$3 id=$4 name=$5 address=$6 boots=$7 public_key=$8
shift 8

mkdir -p "$cgroup"
echo 0 > "$cgroup/cgroup.procs"

if ! [ -e "/run/netns/$id" ]; then
  ip netns add "$id"
  ip link add "$id" type veth peer name eth0 netns "$id"
  ip link set "$id" master machines up
  ip -n "$id" address add "$address/24" dev eth0
  ip -n "$id" link set lo up
  ip -n "$id" link set eth0 up
fi

root=$folder/root
if ! mountpoint --quiet "$root"; then
  mkdir -p "$folder/upper" "$folder/work" "$root"
  mount -t overlay overlay -o "lowerdir=$layers,upperdir=$folder/upper,workdir=$folder/work" "$root"
  echo "$name" > "$root/etc/hostname"
  printf '127.0.0.1 localhost\n127.0.1.1 %s\n::1 localhost\n' "$name" > "$root/etc/hosts"
  rm -f "$root"/etc/ssh/ssh_host_*
  ssh-keygen -q -t ed25519 -N '' -C "$name" -f "$root/etc/ssh/ssh_host_ed25519_key"
  install -d -m 700 "$root/root/.ssh"
  install -m 600 "$public_key" "$root/root/.ssh/authorized_keys"
fi

# Net settings are the machine's own, as in a real one; CAP_NET_ADMIN is what nftables needs and a given network does not bring.
export SYSTEMD_NSPAWN_API_VFS_WRITABLE=network
status=133
while [ "$status" = 133 ]; do  # the status of a machine that wants to start again
  echo boot >> "$boots"
  status=0
  systemd-nspawn --quiet --boot --directory="$root" --machine="$id" --hostname="$name" \
    --register=no --keep-unit --console=read-only --link-journal=no --resolv-conf=off --timezone=off \
    --network-namespace-path="/run/netns/$id" --capability=CAP_NET_ADMIN "$@" || status=$?
done
exit "$status"
