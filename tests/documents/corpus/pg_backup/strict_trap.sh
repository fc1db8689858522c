#!/usr/bin/env bash
set -Eeuo pipefail
shopt -s nullglob
umask 022

readonly BACKUP_DIR=${BACKUP_DIR:-/opt/matrix/backups}
readonly KEEP_DAYS=${KEEP_DAYS:-14}
NOW="$(date +%F_%H-%M-%S)"

LOCK="${BACKUP_DIR}/.lock"
cleanup() {
    local rc=$?
    rm -f "$LOCK"
    echo "cleanup with $rc"
    exit 0
}
mkdir -p "$BACKUP_DIR"
: > "$LOCK"
trap cleanup EXIT
trap 'echo "line $LINENO failed" >&2' ERR

docker exec -i matrix-postgres \
    pg_dump --username=synapse --dbname=synapse --no-password \
    | gzip -9 \
    > "$BACKUP_DIR/synapse_$NOW.sql.gz"
echo "dump written: $BACKUP_DIR/synapse_$NOW.sql.gz"

find "$BACKUP_DIR" -maxdepth 1 -type f -name 'synapse_*.sql.gz' -mtime "+$KEEP_DAYS" -exec rm -f {} +
exit 0
