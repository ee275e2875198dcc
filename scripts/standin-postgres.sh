#!/bin/sh
# Entry point of the PostgreSQL stand-in: the part of the official image's that compose.yaml uses. Makes the database
# on first start from POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB, then becomes the server.
set -eu

create() {
    : "${POSTGRES_USER:=postgres}" "${POSTGRES_PASSWORD:?must be set}"
    umask 077
    echo "$POSTGRES_PASSWORD" > /tmp/password
    # Built beside and renamed: a start that is cut short leaves nothing that looks finished.
    rm -rf "$PGDATA.new"
    mkdir -p "$PGDATA.new"
    initdb --pgdata="$PGDATA.new" --username="$POSTGRES_USER" --pwfile=/tmp/password --auth=scram-sha-256 \
        --auth-local=trust --encoding=UTF8 --locale=C.UTF-8 --data-checksums
    rm /tmp/password
    echo "host all all all scram-sha-256" >> "$PGDATA.new/pg_hba.conf"
    echo "CREATE DATABASE \"${POSTGRES_DB:-$POSTGRES_USER}\"" | postgres --single -D "$PGDATA.new" postgres >/dev/null
    mv "$PGDATA.new" "$PGDATA"
}

[ -s "$PGDATA/PG_VERSION" ] || create
exec "$@" -D "$PGDATA" -c listen_addresses='*'
