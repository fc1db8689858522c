#!/bin/sh
# Command of the lab's bridge image: what the real image's /docker-run.sh does. It stops after writing a missing
# config or registration, gives /data to the bridge's user, and runs the bridge as that user.
set -eu
binary=/usr/bin/mautrix-signal
# shellcheck disable=SC3028 # dash has no UID of its own: the image's environment sets it
owner="${UID:-1337}:${GID:-1337}"

if [ ! -f /data/config.yaml ]; then
	"$binary" -c /data/config.yaml -e
	chown -R "$owner" /data
	echo "Didn't find a config file."
	echo "Copied default config file to /data/config.yaml"
	echo "Modify that config file to your liking."
	echo "Start the container again after that to generate the registration file."
	exit 0
fi
if [ ! -f /data/registration.yaml ]; then
	"$binary" -g -c /data/config.yaml -r /data/registration.yaml
	chown -R "$owner" /data
	echo "Didn't find a registration file."
	echo "Generated one for you."
	echo "Copy it to your homeserver and add it to app_service_config_files, then start the container again."
	exit 0
fi
cd /data
chown -R "$owner" /data
exec su-exec "$owner" "$binary"
