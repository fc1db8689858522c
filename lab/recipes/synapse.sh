#!/bin/sh
# Makes the Synapse image, as root in a container of the base image; /mnt holds the files of this folder.
# Reads SYNAPSE_VERSION; pip is told where it finds packages by its own environment variables.
set -eu
export DEBIAN_FRONTEND=noninteractive

apt-get update -qq
# The last two are for the flavour with workers, in containers of their own.
apt-get install -qq -y python3 python3-venv curl ca-certificates redis-server nginx-light

groupadd --system --gid 991 synapse
useradd --system --gid 991 --uid 991 --home-dir /data --no-create-home --shell /usr/sbin/nologin synapse
install -d -o 991 -g 991 /data

python3 -m venv /opt/synapse
# psycopg2-binary: Synapse's own "postgres" extra would want to compile.
# txredisapi: this Synapse does not start with 1.6.0.
/opt/synapse/bin/pip install --no-cache-dir --quiet --disable-pip-version-check \
	"matrix-synapse[redis]==$SYNAPSE_VERSION" "txredisapi<1.5" psycopg2-binary PyYAML
/opt/synapse/bin/python3 -c 'import psycopg2, synapse.app.homeserver, yaml'
install -m 0755 /mnt/synapse-entrypoint.sh /start.sh

rm -rf /var/lib/apt/lists/* /var/log/*.log /root/.cache
apt-get clean
