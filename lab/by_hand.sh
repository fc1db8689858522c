#!/usr/bin/env bash
# The deployment plan, step by step, as a person at the host's shell would do it: the lower line that `make bench` sets
# `pulumi up` against. No preflight, no way back from a half-done run, no state: `undo` knows only what `up` always does.
#
#   lab/by_hand.sh up      role, database, isolation, backup, files, Synapse's restart, stop-and-check, container, ready
#   lab/by_hand.sh undo    the same backwards, from the copies that `up` kept
#
# Every name, path and port is an environment variable with the plan's value as its default. Secrets go through files of
# mode 0600 and standard input, never through an argument or the environment of a process.
set -euo pipefail
shopt -s inherit_errexit

: "${DOMAIN:=echo6.co}" "${ADMIN_USER:=@matt:$DOMAIN}"
: "${NETWORK:=matrix-net}"
: "${SYNAPSE_CONTAINER:=matrix-synapse}" "${SYNAPSE_DIR:=/opt/matrix/synapse}" "${SYNAPSE_DATA_MOUNT:=/data}"
: "${SYNAPSE_URL:=http://127.0.0.1:8008}" "${HOMESERVER_ADDRESS:=http://matrix-synapse:8008}"
: "${POSTGRES_CONTAINER:=matrix-postgres}" "${POSTGRES_PORT:=5432}" "${POSTGRES_SUPERUSER:=synapse}"
: "${SYNAPSE_DATABASE:=synapse}" "${MAS_DATABASE:=mas}" "${MAS_ROLE:=mas}"
: "${BACKUP_SCRIPT:=/opt/matrix/scripts/pg_backup.sh}"
: "${IMAGE:=dock.mau.dev/mautrix/signal:v0.2603.0}"
: "${BRIDGE_CONTAINER:=mautrix-signal}" "${BRIDGE_DIR:=/opt/matrix/mautrix-signal}" "${BRIDGE_PORT:=29328}"
: "${BRIDGE_DATABASE:=mautrix_signal}" "${BRIDGE_ROLE:=mautrix_signal}"
: "${REGISTRATION_FILE:=registration.yaml}" "${DOUBLEPUPPET_FILE:=doublepuppet.yaml}" "${DOUBLEPUPPET_ID:=doublepuppet}"
: "${SYNAPSE_DEADLINE:=120}" "${READY_TIMEOUT:=90}"
# Where homeserver.yaml and the backup script are kept as they were, for undo.
: "${COPIES:=/var/tmp/by-hand-$BRIDGE_CONTAINER}"

homeserver_yaml=$SYNAPSE_DIR/homeserver.yaml
bot=signalbot
begun=$(date +%s%N)

step() { printf '%6d ms  %s\n' $((($(date +%s%N) - begun) / 1000000)) "$*"; }
die() {
    printf 'by_hand: %s\n' "$*" >&2
    exit 1
}

secret() { head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; } # 64 hex digits: nothing to quote or to escape

sql() { # DATABASE [ROLE]: the statements come on stdin
    docker exec -i "$POSTGRES_CONTAINER" psql -U "${2:-$POSTGRES_SUPERUSER}" -d "$1" -p "$POSTGRES_PORT" \
        -XAtq -v ON_ERROR_STOP=1 -f -
}

request() { # TOKEN METHOD PATH [BODY]: prints the answer's body and, on a line of its own, its status
    local more=()
    [ -z "${4:-}" ] || more=(--header 'Content-Type: application/json' --data "$4")
    printf 'header = "Authorization: Bearer %s"\n' "$1" |
        curl --silent --show-error --max-time 10 --noproxy '*' --config - --request "$2" "${more[@]}" \
            --write-out '\n%{http_code}\n' "$SYNAPSE_URL$3"
}

expect() { # WHAT ANSWER STATUS TEXT: the answer has that status and that text in its body
    if [ "${2##*$'\n'}" != "$3" ] || [[ $2 != *"$4"* ]]; then
        die "STOP: $1 should answer $3 with $4, but: $2 (docker logs $SYNAPSE_CONTAINER --tail 50)"
    fi
}

restart_synapse() {
    docker restart "$SYNAPSE_CONTAINER" >/dev/null
    local deadline=$((SECONDS + SYNAPSE_DEADLINE))
    until curl --silent --fail --max-time 2 --noproxy '*' --output /dev/null "$SYNAPSE_URL/health"; do
        [ "$SECONDS" -lt "$deadline" ] || die "Synapse is not healthy after $SYNAPSE_DEADLINE s"
        sleep 0.1
    done
}

# Steps 1-3: role and database, PUBLIC kept out, and the proof.
make_database() {
    sql postgres <<SQL
CREATE ROLE $BRIDGE_ROLE WITH LOGIN PASSWORD '$password' NOSUPERUSER NOCREATEDB NOCREATEROLE;
CREATE DATABASE $BRIDGE_DATABASE OWNER $BRIDGE_ROLE TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
REVOKE CONNECT, TEMPORARY ON DATABASE $BRIDGE_DATABASE, $SYNAPSE_DATABASE, $MAS_DATABASE FROM PUBLIC;
SQL
    step "role and database"
    local rights database
    rights=$(sql postgres <<<"SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = '$BRIDGE_ROLE'")
    [ "$rights" = 'f|f|f' ] || die "the role $BRIDGE_ROLE may too much: $rights"
    [ "$(sql "$BRIDGE_DATABASE" "$BRIDGE_ROLE" <<<'SELECT 1')" = 1 ] || die "$BRIDGE_ROLE cannot use its own database"
    for database in "$SYNAPSE_DATABASE" "$MAS_DATABASE"; do
        if sql "$database" "$BRIDGE_ROLE" <<<'SELECT 1' >/dev/null 2>&1; then
            die "$BRIDGE_ROLE can connect to $database"
        fi
    done
    step "isolation proven"
}

# Steps 4-5: the dumps of the plan's section 9, before the cleanup; then all of it run and looked at.
add_backups() {
    cp -p "$BACKUP_SCRIPT" "$COPIES/pg_backup.sh"
    cat >"$COPIES/block" <<'BLOCK'
umask 077
for pair in @PAIRS@; do
    DUMP="${BACKUP_DIR}/${pair#*:}_${TIMESTAMP}.sql.gz"
    if (set -o pipefail; docker exec @POSTGRES@ pg_dump -U "${pair%%:*}" -d "${pair#*:}" | gzip > "${DUMP}"); then
        echo "$(date): Backup created: ${DUMP} ($(du -h "${DUMP}" | cut -f1))"
    else
        echo "$(date): WARNING: ${pair#*:} backup failed"
    fi
    find "${BACKUP_DIR}" -name "${pair#*:}_*.sql.gz" -mtime +14 -delete
done

BLOCK
    sed -i -e "s/@PAIRS@/$BRIDGE_ROLE:$BRIDGE_DATABASE $MAS_ROLE:$MAS_DATABASE/" -e "s/@POSTGRES@/$POSTGRES_CONTAINER/" \
        "$COPIES/block"
    sed -i "/^find /e cat '$COPIES/block'" "$BACKUP_SCRIPT"
    grep -q "^for pair in" "$BACKUP_SCRIPT" || die "$BACKUP_SCRIPT has no line that begins with find: edit it by hand"
    bash "$BACKUP_SCRIPT" >"$COPIES/backup.log" || die "the backup script failed; see $COPIES/backup.log"
    local folder database dump
    folder=$(sed -n 's/^BACKUP_DIR="\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' "$BACKUP_SCRIPT")
    for database in "$SYNAPSE_DATABASE" "$BRIDGE_DATABASE" "$MAS_DATABASE"; do
        dump=$(find "$folder" -name "${database}_*.sql.gz" -newer "$COPIES/block")
        [ -n "$dump" ] || die "no dump of $database in $folder"
        printf '%s\n' "$dump" >>"$COPIES/dumps"
        gzip -t "$dump"
        zcat "$dump" | tail -n 5 | grep -q 'PostgreSQL database dump complete' || die "$dump is not whole"
    done
    step "backup script changed and run, three dumps whole"
}

# Steps 6-11: the bridge's directory and config, both registrations.
write_files() {
    local name_regex=${DOMAIN//./\\.}
    install -d -m 700 -o 1337 -g 1337 "$BRIDGE_DIR"
    cat >"$BRIDGE_DIR/config.yaml" <<YAML
bridge:
    command_prefix: '!signal'
    permissions:
        '*': relay
        '$DOMAIN': user
        '$ADMIN_USER': admin
database:
    type: postgres
    uri: postgres://$BRIDGE_ROLE:$password@$POSTGRES_CONTAINER:$POSTGRES_PORT/$BRIDGE_DATABASE?sslmode=disable
homeserver:
    address: $HOMESERVER_ADDRESS
    domain: $DOMAIN
    software: standard
appservice:
    address: http://$BRIDGE_CONTAINER:$BRIDGE_PORT
    hostname: 0.0.0.0
    port: $BRIDGE_PORT
    id: signal
    bot:
        username: $bot
    ephemeral_events: true
    as_token: $as_token
    hs_token: $hs_token
    username_template: 'signal_{{.}}'
provisioning:
    shared_secret: $provisioning_secret
public_media:
    enabled: false
    signing_key: $signing_key
direct_media:
    enabled: false
double_puppet:
    servers: {}
    allow_discovery: false
    secrets:
        '$DOMAIN': as_token:$doublepuppet_as_token
encryption:
    allow: true
    default: true
    require: true
    appservice: false
    msc4190: true
    allow_key_sharing: true
    pickle_key: $pickle_key
    self_sign: true
logging:
    min_level: debug
    writers:
        - type: stdout
          format: json
YAML
    cat >"$SYNAPSE_DIR/$REGISTRATION_FILE" <<YAML
id: signal
url: http://$BRIDGE_CONTAINER:$BRIDGE_PORT
as_token: $as_token
hs_token: $hs_token
sender_localpart: $sender
rate_limited: false
namespaces:
    users:
        - regex: '^@$bot:$name_regex\$'
          exclusive: true
        - regex: '^@signal_.*:$name_regex\$'
          exclusive: true
de.sorunome.msc2409.push_ephemeral: true
receive_ephemeral: true
io.element.msc4190: true
YAML
    cat >"$SYNAPSE_DIR/$DOUBLEPUPPET_FILE" <<YAML
id: $DOUBLEPUPPET_ID
url:
as_token: $doublepuppet_as_token
hs_token: $doublepuppet_hs_token
sender_localpart: _doublepuppet
rate_limited: false
namespaces:
    users:
        - regex: '@.*:$name_regex'
          exclusive: false
YAML
    chmod 600 "$BRIDGE_DIR/config.yaml" "$SYNAPSE_DIR/$REGISTRATION_FILE" "$SYNAPSE_DIR/$DOUBLEPUPPET_FILE"
    chown 1337:1337 "$BRIDGE_DIR/config.yaml"
    chown --reference="$homeserver_yaml" "$SYNAPSE_DIR/$REGISTRATION_FILE" "$SYNAPSE_DIR/$DOUBLEPUPPET_FILE"
    step "config and registrations"
}

# Steps 12-14: homeserver.yaml, one restart.
register() {
    cp -p "$homeserver_yaml" "$COPIES/homeserver.yaml"
    cat >>"$homeserver_yaml" <<YAML

experimental_features:
  msc3202_transaction_extensions: true
  msc2409_to_device_messages_enabled: true

app_service_config_files:
  - $SYNAPSE_DATA_MOUNT/$REGISTRATION_FILE
  - $SYNAPSE_DATA_MOUNT/$DOUBLEPUPPET_FILE
YAML
    step "homeserver.yaml"
    restart_synapse
    step "Synapse restarted and healthy"
}

# Step 15: the stop-and-check.
stop_and_check() {
    local answer who=/_matrix/client/v3/account/whoami ping=/_matrix/client/v1/appservice
    answer=$(request "$as_token" POST /_matrix/client/v3/register \
        '{"type":"m.login.application_service","username":"'$bot'","inhibit_login":true}')
    case ${answer##*$'\n'} in
        200) ;;
        400) expect "registering the bot" "$answer" 400 M_USER_IN_USE ;;
        *) expect "registering the bot" "$answer" 200 '"user_id"' ;;
    esac
    expect "whoami as the bot" "$(request "$as_token" GET "$who?user_id=@$bot:$DOMAIN")" 200 "\"@$bot:$DOMAIN\""
    # The bridge is not up yet: that Synapse tried to reach it says that token and id belong together.
    expect "ping" "$(request "$as_token" POST $ping/signal/ping '{}')" 502 M_CONNECTION_FAILED
    expect "whoami as the admin" "$(request "$doublepuppet_as_token" GET "$who?user_id=$ADMIN_USER")" 200 "\"$ADMIN_USER\""
    expect "ping of the double puppet" \
        "$(request "$doublepuppet_as_token" POST "$ping/$DOUBLEPUPPET_ID/ping" '{}')" 400 M_URL_NOT_SET
    step "stop-and-check: PASS"
}

# Steps 16-18: the container, and that it is ready.
start_bridge() {
    docker run --detach --name "$BRIDGE_CONTAINER" --network "$NETWORK" --network-alias "$BRIDGE_CONTAINER" \
        --user 1337:1337 --restart unless-stopped --read-only --cap-drop ALL --security-opt no-new-privileges:true \
        --volume "$BRIDGE_DIR:/data:ro" --log-driver json-file --log-opt max-size=10m --log-opt max-file=3 \
        --health-cmd "curl -fsS -o /dev/null http://127.0.0.1:$BRIDGE_PORT/_matrix/mau/ready" \
        --health-interval 30s --health-timeout 5s --health-start-period 60s --health-retries 3 \
        --entrypoint /usr/bin/mautrix-signal "$IMAGE" -c /data/config.yaml -n >/dev/null
    step "container started"
    local deadline=$((SECONDS + READY_TIMEOUT)) answer
    until answer=$(request "$as_token" POST /_matrix/client/v1/appservice/signal/ping '{}') && [ "${answer##*$'\n'}" = 200 ] &&
        docker exec "$BRIDGE_CONTAINER" curl -fsS -o /dev/null "http://127.0.0.1:$BRIDGE_PORT/_matrix/mau/ready" 2>/dev/null; do
        [ "$SECONDS" -lt "$deadline" ] || die "not ready after $READY_TIMEOUT s (docker logs $BRIDGE_CONTAINER --tail 50): $answer"
        sleep 0.1
    done
    expect "the bot's profile" "$(request "$as_token" GET "/_matrix/client/v3/profile/@$bot:$DOMAIN")" 200 ''
    step "ready: ping 200, the bot's profile 200"
}

up() {
    [ ! -e "$COPIES" ] || die "$COPIES is there: a run that was not undone; look, then: $0 undo"
    docker image inspect "$IMAGE" >/dev/null 2>&1 || docker pull --quiet "$IMAGE" >/dev/null
    umask 077
    mkdir "$COPIES"
    password=$(secret) as_token=$(secret) hs_token=$(secret)
    doublepuppet_as_token=$(secret) doublepuppet_hs_token=$(secret)
    pickle_key=$(secret) provisioning_secret=$(secret) signing_key=$(secret)
    sender=$(secret)
    sender=${sender:0:32}
    make_database
    add_backups
    write_files
    register
    stop_and_check
    start_bridge
}

undo() {
    [ -d "$COPIES" ] || die "$COPIES is not there: nothing to undo"
    docker stop --time 30 "$BRIDGE_CONTAINER" >/dev/null 2>&1 || true # it may never have been made
    docker rm --force --volumes "$BRIDGE_CONTAINER" >/dev/null 2>&1 || true
    step "container removed"
    if [ -e "$COPIES/homeserver.yaml" ]; then
        cp -p "$COPIES/homeserver.yaml" "$homeserver_yaml"
        rm -f "$SYNAPSE_DIR/$REGISTRATION_FILE" "$SYNAPSE_DIR/$DOUBLEPUPPET_FILE"
        restart_synapse
        step "Synapse restarted without the registrations"
    fi
    sql postgres <<SQL
DROP DATABASE IF EXISTS $BRIDGE_DATABASE;
DROP ROLE IF EXISTS $BRIDGE_ROLE;
GRANT CONNECT, TEMPORARY ON DATABASE $SYNAPSE_DATABASE, $MAS_DATABASE TO PUBLIC;
SQL
    step "database and role dropped"
    rm -rf "$BRIDGE_DIR"
    [ ! -e "$COPIES/pg_backup.sh" ] || cp -p "$COPIES/pg_backup.sh" "$BACKUP_SCRIPT"
    [ ! -e "$COPIES/dumps" ] || xargs -d '\n' rm -f -- <"$COPIES/dumps"
    rm -rf "$COPIES"
    step "directory and backup script as before"
}

case ${1:-} in
    up) up ;;
    undo) undo ;;
    *)
        echo "usage: $0 up|undo" >&2
        exit 2
        ;;
esac
