#!/bin/sh
# The entry point of the PostgreSQL stand-in. It does what compose.yaml needs of the official image's entry point: on first
# start it creates the database from POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB and runs the scripts in
# /docker-entrypoint-initdb.d; then it becomes the server.
set -eu

create() {
    : "${POSTGRES_USER:=postgres}" "${POSTGRES_PASSWORD:?must be set}"
    : "${POSTGRES_DB:=$POSTGRES_USER}"
    export POSTGRES_USER POSTGRES_DB
    umask 077
    echo "$POSTGRES_PASSWORD" > /tmp/password
    # Made under another name and then renamed, so that an interrupted start leaves no folder that looks complete.
    rm -rf "$PGDATA.new"
    mkdir -p "$PGDATA.new"
    initdb --pgdata="$PGDATA.new" --username="$POSTGRES_USER" --pwfile=/tmp/password --auth=scram-sha-256 \
        --auth-local=trust --encoding=UTF8 --locale=C.UTF-8 --data-checksums
    rm /tmp/password
    echo "host all all all scram-sha-256" >> "$PGDATA.new/pg_hba.conf"
    [ "$POSTGRES_DB" = postgres ] ||
        echo "CREATE DATABASE \"$POSTGRES_DB\"" | postgres --single -D "$PGDATA.new" postgres >/dev/null
    prepare
    mv "$PGDATA.new" "$PGDATA"
}

# Runs the scripts with a server that cannot be reached over the network.
prepare() {
    pg_ctl --pgdata="$PGDATA.new" --silent --wait --options="-c listen_addresses=''" start
    for script in /docker-entrypoint-initdb.d/*.sh; do
        [ ! -e "$script" ] || sh "$script"
    done
    pg_ctl --pgdata="$PGDATA.new" --silent --wait --mode=fast stop
}

[ -s "$PGDATA/PG_VERSION" ] || create
exec "$@" -D "$PGDATA" -c listen_addresses='*'
