#!/bin/bash
# Entrypoint of the lab's Postgres image: the official image's behaviour where a deployment can see it.
# Reads POSTGRES_PASSWORD (must be set), POSTGRES_USER (postgres), POSTGRES_DB (as the user), POSTGRES_INITDB_ARGS,
# PGDATA. Runs *.sql and *.sh of /docker-entrypoint-initdb.d once, after the first initdb.
set -euo pipefail

if [[ ${1:-} == -* ]]; then
	set -- postgres "$@"
fi
if [[ ${1:-} != postgres ]]; then
	exec "$@"
fi

if [[ $(id -u) == 0 ]]; then
	mkdir -p "$PGDATA" /var/run/postgresql
	chown -R postgres:postgres "$PGDATA"
	chmod 0700 "$PGDATA"
	chown postgres:postgres /var/run/postgresql
	chmod 2777 /var/run/postgresql
	exec setpriv --reuid=postgres --regid=postgres --init-groups --reset-env \
		env "PATH=$PATH" "PGDATA=$PGDATA" "LANG=$LANG" \
		"POSTGRES_USER=${POSTGRES_USER:-}" "POSTGRES_PASSWORD=${POSTGRES_PASSWORD:-}" \
		"POSTGRES_DB=${POSTGRES_DB:-}" "POSTGRES_INITDB_ARGS=${POSTGRES_INITDB_ARGS:-}" "$0" "$@"
fi

if [[ ! -s $PGDATA/PG_VERSION ]]; then
	user=${POSTGRES_USER:-postgres}
	database=${POSTGRES_DB:-$user}
	if [[ -z ${POSTGRES_PASSWORD:-} ]]; then
		echo 'Error: Database is uninitialized and superuser password is not specified (POSTGRES_PASSWORD).' >&2
		exit 1
	fi
	# shellcheck disable=SC2086 # the arguments are meant to be split
	initdb --username="$user" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") --auth=trust ${POSTGRES_INITDB_ARGS:-}
	printf '\nhost all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
	# The scripts run on a server that nobody else can reach.
	PGUSER=$user pg_ctl -D "$PGDATA" -o "-c listen_addresses='' -p 5432" -w start
	psql=(psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$user" --no-password)
	if [[ $database != postgres ]]; then
		"${psql[@]}" --dbname postgres --set "db=$database" <<<'CREATE DATABASE :"db";'
	fi
	for script in /docker-entrypoint-initdb.d/*; do
		case $script in
		*.sh) bash "$script" ;;
		*.sql) "${psql[@]}" --dbname "$database" <"$script" ;;
		esac
	done
	PGUSER=$user pg_ctl -D "$PGDATA" -m fast -w stop
	echo 'PostgreSQL init process complete; ready for start up.'
fi
unset POSTGRES_PASSWORD
exec "$@"
