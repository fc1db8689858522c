#!/bin/bash
# Nightly backup of the Synapse database.
# cron: 15 3 * * * @HOST_DIR@/scripts/pg_backup.sh >> /var/log/pg_backup.log 2>&1

BACKUP_DIR="@HOST_DIR@/backups"
TIMESTAMP=$(date +%Y%m%d_%H%M%S)
BACKUP_FILE="${BACKUP_DIR}/synapse_${TIMESTAMP}.sql.gz"

mkdir -p "${BACKUP_DIR}"

# Synapse database
if docker exec @POSTGRES@ pg_dump -U synapse -d synapse | gzip > "${BACKUP_FILE}" && [ -s "${BACKUP_FILE}" ]; then
    echo "$(date): Backup created: ${BACKUP_FILE} ($(du -h "${BACKUP_FILE}" | cut -f1))"
else
    echo "$(date): ERROR: Backup failed"
    exit 1
fi

# Keep two weeks
find "${BACKUP_DIR}" -name "synapse_*.sql.gz" -mtime +14 -delete

echo "$(date): Backup complete"
