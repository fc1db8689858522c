#!/bin/bash
set -u
BACKUP_ROOT=/opt/matrix/backups
DATE=`date +%Y-%m-%d`
CONTAINER=matrix-postgres

log() { echo "[$(date '+%H:%M:%S')] $*"; }

dump() {
    local db="$1" user="$2"
    local out="$BACKUP_ROOT/${db}_${DATE}.sql.gz"
    if docker exec "$CONTAINER" pg_dump -U "$user" "$db" | gzip > "$out"; then
        log "ok: $out"
    else
        log "pg_dump of $db failed"
        return 1
    fi
}

purge() {
    local days=30
    find "$BACKUP_ROOT" -type f -name '*.sql.gz' -mtime +$days -print -delete
}

mkdir -p "$BACKUP_ROOT"
dump synapse synapse || FAILED=1
purge
exit ${FAILED:-0}
