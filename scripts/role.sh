#!/usr/bin/env bash
# Gives a PostgreSQL that an earlier version of this project made an ordinary role for the application, where it had the
# superuser. Does nothing to any other. What `make up` and `make deploy` do before they start what uses it; the stack may run.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

HELPER=uploads_mender  # without a password, so that nobody is it over the network

main() {
    [[ -n $(first_of db) ]] || return 0
    patiently "the database" 120 answers || die "the database does not answer; see: make logs S=db"
    if [[ $(superuser) == uploads ]]; then
        say "the application's role becomes an ordinary one, which owns its database and no more"
        as uploads --command "DROP ROLE IF EXISTS $HELPER" --command "CREATE ROLE $HELPER SUPERUSER LOGIN"
        as "$HELPER" < "$ROOT/postgres/mend-role.sql"
    fi
    as postgres --command "DROP ROLE IF EXISTS $HELPER"  # also what one that was killed has left
}

# Not as pg_isready says it: 2 would mean that it never will.
answers() { postgres pg_isready --quiet --host=127.0.0.1 || return 1; }

as() { postgres psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="$1" --dbname=uploads "${@:2}" >/dev/null; }

main
