#!/bin/sh
# holder.sh DISKS ADDRESS: pid 1 of the testbed's namespaces. When its standard input ends, it ends, and with it
# every machine, mount and network of the testbed.
set -eu
disks=$1 address=$2

trap '' CHLD  # the kernel buries whatever is left to pid 1; the choice survives exec
mount -t tmpfs -o mode=755 tmpfs /run          # so that names of machines and networks are the testbed's own
mount -t cgroup2 cgroup2 /sys/fs/cgroup        # also on a host that has the older hierarchy there
mount -t tmpfs -o mode=755,size=16g tmpfs "$disks"
mkdir -p /run/netns

ip link set lo up
ip link add machines type bridge
ip address add "$address/24" dev machines
ip link set machines up

echo ready
exec cat >/dev/null
