#!/bin/bash -u
# usage: pg_backup.sh [--help]
case "${1:-}" in
  -h|--help)
    cat <<USAGE
usage: pg_backup.sh
  dumps with: docker exec matrix-postgres pg_dump | gzip > file
  find . -mtime +99 -delete
USAGE
    exit 0
    ;;
  "") ;;
  *) echo "unknown: $1" >&2; exit 2 ;;
esac

# Where things are. (It's the same disk as /opt.)
BACKUP_DIR="${BACKUP_DIR:-/opt/matrix/backups}"; TIMESTAMP="$(date +"%Y-%m-%d")"
[ -d "$BACKUP_DIR" ] || mkdir -p -m 0750 "$BACKUP_DIR"

OUT="$BACKUP_DIR/synapse-${TIMESTAMP}.sql.gz"
docker exec matrix-postgres pg_dump -U synapse synapse | gzip > "$OUT"
STATUS=(${PIPESTATUS[@]})
if (( STATUS[0] != 0 )); then echo "pg_dump: ${STATUS[0]}" >&2; RESULT=1; fi

find "$BACKUP_DIR" -name "synapse-*.sql.gz" -mtime +"14" -delete   # two weeks
exit "${RESULT:-0}"