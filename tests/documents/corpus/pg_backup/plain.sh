#!/bin/bash
# PostgreSQL backup of the Matrix stack, from cron at 03:15
BACKUP_DIR="/opt/matrix/backups"
TIMESTAMP=$(date +%Y%m%d_%H%M%S)
BACKUP_FILE="${BACKUP_DIR}/synapse_${TIMESTAMP}.sql.gz"

mkdir -p "${BACKUP_DIR}"

# Synapse database
docker exec matrix-postgres pg_dump -U synapse -d synapse | gzip > "${BACKUP_FILE}"
if [ $? -eq 0 ] && [ -s "${BACKUP_FILE}" ]; then
    echo "$(date): Backup created: ${BACKUP_FILE} ($(du -h "${BACKUP_FILE}" | cut -f1))"
else
    echo "$(date): ERROR: synapse backup failed"
    exit 1
fi

# Keep 14 days
find "${BACKUP_DIR}" -name "synapse_*.sql.gz" -mtime +14 -delete
echo "$(date): Cleanup done"
