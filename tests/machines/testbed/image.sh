#!/bin/sh
# image.sh SUITE FOLDER PACKAGE_CACHE ARCHIVE SECURITY_ARCHIVE PACKAGES: a plain Debian that can boot, in FOLDER.
set -eu
suite=$1 folder=$2 cache=$3 archive=$4 security=$5 packages=$6

mkdir -p "$cache/$suite"
debootstrap --variant=minbase --cache-dir="$cache/$suite" --include="$packages" "$suite" "$folder" "$archive"

cat > "$folder/etc/apt/sources.list" <<EOF
deb $archive $suite main
deb $archive $suite-updates main
deb $security $suite-security main
EOF

# As after a fresh installation: an identity of its own at the first boot, no downloaded packages, no lists.
: > "$folder/etc/machine-id"
rm -f "$folder"/etc/ssh/ssh_host_* "$folder/var/lib/dbus/machine-id" "$folder/etc/hostname" "$folder/etc/resolv.conf"
rm -rf "$folder"/var/cache/apt/archives/*.deb "$folder"/var/lib/apt/lists/*
# Ansible takes this folder's time for that of the last update.
touch -d @0 "$folder/var/lib/apt/lists"
# Nothing wakes up in the middle of a test.
chroot "$folder" systemctl mask --quiet apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer
