#!/bin/bash
exec 2>&1
set -eo pipefail
export BACKUP_DIR=/opt/matrix/backups
export RETENTION=21
mkdir -p $BACKUP_DIR
find $BACKUP_DIR -name "*.sql.gz" -mtime +$RETENTION -delete
find /var/log/matrix -name "*.log" -mtime +3 -delete || true

DUMP=$BACKUP_DIR/synapse_$(date +%Y%m%d_%H%M).sql.gz
if ! docker exec matrix-postgres pg_dump -U synapse -d synapse | gzip > $DUMP; then
    echo "synapse: dump failed"
    exit 3
fi
chmod 640 $DUMP
echo "synapse: $(stat -c %s $DUMP) bytes"
