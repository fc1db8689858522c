#!/bin/bash
cd /opt/matrix || exit 1
ts=$(date -u +%Y%m%dT%H%M%SZ)
docker exec matrix-postgres sh -c "pg_dump -U synapse synapse" | gzip > backups/synapse_"$ts".sql.gz
