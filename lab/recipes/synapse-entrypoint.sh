#!/bin/sh
# Entrypoint of the lab's Synapse image: drops root for uid 991, as the official image's start.py does.
set -eu
config=${SYNAPSE_CONFIG_PATH:-/data/homeserver.yaml}
if [ ! -f "$config" ]; then
	echo "Config file '$config' does not exist." >&2
	exit 2
fi
if [ "$(id -u)" = 0 ]; then
	chown 991:991 /data
	exec setpriv --reuid=991 --regid=991 --clear-groups python3 -m synapse.app.homeserver -c "$config"
fi
exec python3 -m synapse.app.homeserver -c "$config"
