#!/bin/sh
# Makes the Postgres image, as root in a container of the base image; /mnt holds the files of this folder.
set -eu
export DEBIAN_FRONTEND=noninteractive

# The ids of the official image.
groupadd --system --gid 999 postgres
useradd --system --gid 999 --uid 999 --home-dir /var/lib/postgresql --shell /bin/bash postgres

mkdir -p /etc/postgresql-common
echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
apt-get update -qq
apt-get install -qq -y postgresql-15

# The real programs, not Debian's wrappers that look for a cluster under /etc/postgresql.
for program in /usr/lib/postgresql/15/bin/*; do
	ln -sf "$program" "/usr/local/bin/${program##*/}"
done
sed -ri "s/^#?listen_addresses = .*/listen_addresses = '*'/" /usr/share/postgresql/15/postgresql.conf.sample
grep -q "^listen_addresses = '\*'" /usr/share/postgresql/15/postgresql.conf.sample

install -d -o postgres -g postgres -m 0700 /var/lib/postgresql/data
install -d -o postgres -g postgres -m 2777 /var/run/postgresql
install -d /docker-entrypoint-initdb.d
install -m 0755 /mnt/postgres-entrypoint.sh /usr/local/bin/docker-entrypoint.sh

rm -rf /var/lib/apt/lists/* /var/log/*.log
apt-get clean
