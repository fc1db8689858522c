#!/bin/sh
# Makes the bridge image, as root in a container of the base image; /mnt holds the files of this folder and the binary.
set -eu
export DEBIAN_FRONTEND=noninteractive

apt-get update -qq
apt-get install -qq -y bash ca-certificates curl jq

install -m 0755 /mnt/mautrix-signal /usr/bin/mautrix-signal
install -m 0755 /mnt/bridge-entrypoint.sh /docker-run.sh
install -m 0755 /mnt/su-exec.sh /sbin/su-exec
install -d /data
/usr/bin/mautrix-signal --version

rm -rf /var/lib/apt/lists/* /var/log/*.log
apt-get clean
