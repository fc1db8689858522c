#!/bin/bash
BACKUP_DIR=/opt/matrix/backups
STAMP=$(date +%Y%m%d%H%M)
DATABASES=(synapse mas)
for DB in "${DATABASES[@]}"; do
  docker exec matrix-postgres pg_dump -U "$DB" -d "$DB" | gzip > "$BACKUP_DIR/${DB}_$STAMP.sql.gz"
  if [ "${PIPESTATUS[0]}" -ne 0 ]; then
    echo "$DB: failed" >&2
    rm -f "$BACKUP_DIR/${DB}_$STAMP.sql.gz"
  fi
done
find "$BACKUP_DIR" -name '*.sql.gz' -mtime +7 | xargs -r rm -f
