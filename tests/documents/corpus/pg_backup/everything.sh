#!/bin/bash
B=/opt/matrix/backups
T=$(date +%s)
PG="docker exec matrix-postgres pg_dump"
$PG -U synapse -d synapse | gzip > "$B/synapse_$T.sql.gz"
$PG -U mas -d mas | gzip > "$B/mas_$T.sql.gz"
$PG -U mautrix_signal -d mautrix_signal | gzip > "$B/mautrix_signal_$T.sql.gz"
find "$B" -name '*.sql.gz' -mtime +14 -delete
