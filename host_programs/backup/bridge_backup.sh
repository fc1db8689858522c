#!/usr/bin/env bash
# Dumps the bridges' and MAS' databases into DIRECTORY, each as DATABASE_TIME.MARK.sql.gz (and the filter's suffix).
#
#   mautrix-backup.sh [DIRECTORY]    # default: `directory` below
#
# For cron, for a backup script that calls it, and for a hand. One line a dump on stdout, errors on stderr. Exit status 1
# if a dump failed; the others are made all the same. Dumps of ours that are older than `days` go, once a new one of the
# same database is whole; nobody else's files are touched. In the directory `records`, DATABASE.made holds the path of
# the newest whole dump, and DATABASE.failed says why the last run made none.

# --- settings, written by Pulumi: do not edit
# owner: nobody
mark=bridges # in the names of this stack's dumps
container=postgres
databases=(bridge:bridge) # database:role
directory=''
days=14
filter='' # a command that each dump is piped through; empty: none
suffix=''
records=/nowhere
# --- end of the settings

set -uo pipefail
umask 077
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin # cron has a short one
name=${0##*/}
failed=0

say() { printf '%s %s: %s\n' "$(date -u +%FT%TZ)" "$name" "$1"; }

fail() { # REASON [DATABASE...]: none of these is dumped
    say "$1" >&2
    failed=1
    local database
    for database in "${@:2}"; do
        note "$database.failed" "$(date -u +%FT%TZ): $1"
    done
}

note() { # FILE TEXT
    mkdir -p -- "$records" && printf '%s\n' "$2" >"$records/.$1.$$" && mv -f -- "$records/.$1.$$" "$records/$1"
}

# To stdout, compressed, and through the filter if there is one. What pg_dump says goes into the file `errors`, and not
# what the filter says: a shell may quote it, and it may hold a secret.
dump() { # DATABASE ROLE
    if [ -n "$filter" ]; then
        # Not as a word of a command: everybody on the host can read those.
        pg_dump "$@" | gzip | (cd / && set +u && eval "$filter")
    else
        pg_dump "$@" | gzip
    fi
}

# A session that holds a table is an error, not a night without an end.
pg_dump() { docker exec "$container" pg_dump --lock-wait-timeout=60s -w -U "$2" -d "$1" </dev/null 2>errors; }

# Of a filter's output nothing but its size can be told.
whole() { # FILE
    [ -s "$1" ] || return 1
    [ -z "$filter" ] || return 0
    gzip -dc "$1" | tail -n 11 | grep -c '^-- PostgreSQL database dump complete' >/dev/null
}

all=("${databases[@]%%:*}")
directory=${1:-$directory}
if [ $# -gt 1 ] || [ -z "$directory" ]; then
    fail "no directory for the dumps: $name DIRECTORY (what calls it should set the variable in backupDir)" "${all[@]}"
    exit 1
fi
[[ $directory == /* ]] || directory=$PWD/$directory
if ! mkdir -p -- "$directory"; then
    fail "$directory: cannot be made" "${all[@]}"
    exit 1
fi

# Whoever owns the directory could put a link in the place of a file that is being written. So a dump is made inside of
# a directory that only we can change, wherever that is moved to, and leaves it once it is whole.
find -H "$directory" -maxdepth 1 -type d -name ".$mark.*" -mmin +1440 -exec rm -rf -- {} + # of runs that were killed
if ! private=$(mktemp -d -- "$directory/.$mark.XXXXXXXX") || ! cd -P -- "$private" ||
    [ "$(stat -c '%u %a' .)" != "$EUID 700" ]; then
    fail "$directory: cannot be written" "${all[@]}"
    exit 1
fi
trap 'rm -f -- part errors; cd /; rmdir -- "$private"' EXIT

for pair in "${databases[@]}"; do
    database=${pair%%:*}
    while file=${database}_$(date -u +%Y%m%dT%H%M%SZ).$mark.sql.gz$suffix && [ -e "../$file" ]; do
        sleep 1 # another run made that one in this second
    done
    : >errors
    if dump "$database" "${pair#*:}" >part && whole part && chmod 600 part &&
        bytes=$(stat -c %s part) && mv -fT -- part "../$file"; then
        file=$directory/$file
        say "$database: $file, $bytes bytes"
        note "$database.made" "$file"
        rm -f -- "$records/$database.failed"
        digits='[0-9][0-9]'
        find -H "$directory" -maxdepth 1 -type f -mmin "+$((days * 1440))" \
            -name "${database}_$digits$digits$digits${digits}T$digits$digits${digits}Z.$mark.sql.gz*" -delete
    else
        rm -f -- part
        cat errors >&2
        reason=$(head -n 1 errors | cut -c 1-300)
        fail "$database: no whole dump could be made in $directory${reason:+: $reason}" "$database"
    fi
done
exit "$failed"
