#!/usr/bin/env bash
# Puts what a backup holds in the place of what is there: make restore FILE=backups/NAME.tar. docs/operations.md
#
# Looked at before anything is touched: is the archive whole, is it of this kind of database. Then it is unpacked beside
# what is there, while the stack goes on; only to exchange the two it stops. What was there is kept until the stack is
# well again with what was restored. Should anything go wrong before, it comes back.
#
#   YES=1                     does not ask
#   scripts/restore.sh --undo     brings back what was there, after a restore that was killed
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

KIND=$(database_kind)
DATABASE=$(database_path)
STATE=untouched

main() {
    # --- looks -------------------------------------------------------------------------------------------
    local trouble file=${1:-}
    trouble=$(engine_trouble)
    [[ -z $trouble ]] || die "$trouble"
    [[ -n $file ]] || die "which one? make restore FILE=backups/NAME.tar$(latest)"
    [[ -f $ENV_FILE && -n $(containers_of web) ]] || die "there is no stack to restore into; run: make up"
    hold_lock 0
    if [[ $file == --undo ]]; then
        undo_killed
        return
    fi
    look_at_archive "$file"
    ! is_kept || die "an earlier restore was cut short; bring back what was there before it: scripts/restore.sh --undo"
    agreed "$file" || die "nothing was changed"

    # --- touches -----------------------------------------------------------------------------------------
    trap give_back EXIT
    STATE=unpacking
    forget  # what a restore or a backup that was killed has left
    say "unpacking beside what is there"
    unpack "$file"
    say "stopping what uses it (nginx goes on, and answers 502 in the meantime)"
    read -r -d '' -a USERS < <(users_of_data) || true
    STATE=stopped
    stop_users
    say "exchanging"
    STATE=swapped
    archive swap "$DATABASE"
    [[ $KIND == sqlite ]] || exchange_databases
    migrate || die "the database of this backup could not be brought up to date"
    start_users || die "the stack did not become healthy with what was restored"
    STATE=finished
    forget
    say "restored, and all is well"
}

latest() {
    local name
    name=$(cd "$ROOT" && find backups -maxdepth 1 -name '*.tar' 2>/dev/null | sort | tail -n 1)
    [[ -z $name ]] || printf ' (the latest is %s)' "$name"
}

look_at_archive() {
    local held
    [[ -r $1 ]] || die "$1 cannot be read"
    say "checking the archive"
    held=$(archive check < "$1") || die "$1 is not restored; nothing was changed"
    [[ $(head -n 1 <<< "$held") == "$KIND" ]] ||
        die "$1 holds a database of $(head -n 1 <<< "$held"), and DATABASE_URL names one of ${KIND:-neither kind};" \
            "one cannot become the other. Nothing was changed"
    FILES=$(($(wc -l <<< "$held") - 1))
}

agreed() {
    local answer
    cat >&2 << TEXT
This replaces every row and every photo of "$(setting COMPOSE_PROJECT_NAME)" by those of
  $1 ($FILES files)
What came after that backup is gone then, unless you have another (make backup). Uploads are refused for some seconds.
TEXT
    [[ ${YES:-} != 1 ]] || return 0
    read -r -p 'Type yes to go on: ' answer || true
    [[ ${answer:-} == yes ]]
}

unpack() {
    if [[ $KIND == sqlite ]]; then
        archive unpack < "$1"
        return
    fi
    postgres createdb -U uploads uploads_restored
    archive unpack < "$1" | postgres pg_restore -U uploads --exit-on-error --no-owner --dbname=uploads_restored
}

# What was there before a restore that has not come to its end.
is_kept() {
    local kept
    kept=$(archive kept) || die "whether anything is kept from before cannot be seen; nothing more was touched"
    [[ -n $kept ]]
}

# Whatever has the application's code, and so its database, open; also what a restore that was killed has stopped.
users_of_data() {
    local service
    for service in web gunicorn runserver; do
        containers_of "$service" --filter status=running --filter status=restarting --filter status=exited
    done
}

stop_users() { docker stop "${USERS[@]}" >/dev/null; }

# Sessions that somebody has open would keep a database from being renamed.
exchange_databases() {
    rename_database uploads uploads_before
    rename_database uploads_restored uploads
}

rename_database() {
    postgres psql -U uploads --quiet --set ON_ERROR_STOP=1 --dbname=postgres \
        --command "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '$1'" \
        --command "ALTER DATABASE $1 RENAME TO $2" >/dev/null
}

has_database() { [[ $(postgres psql -U uploads --dbname=postgres -tAc "SELECT 1 FROM pg_database WHERE datname = '$1'") == 1 ]]; }

start_users() {
    docker start "${USERS[@]}" >/dev/null
    patiently "the application to become healthy" 300 are_healthy "${USERS[@]}"
}

# --- when it goes wrong ---------------------------------------------------------------------------------------

# The way out, whatever happened.
give_back() {
    local status=$?
    trap - EXIT
    case $STATE in
        untouched | finished) ;;
        unpacking)
            forget || true
            warn "what was there has not been touched, and runs"
            ;;
        *)
            warn "it went wrong: what was there is brought back"
            bring_back || warn "that went wrong, too; what was there is kept. Run: scripts/restore.sh --undo"
            ;;
    esac
    exit "$status"
}

# Killed in between, it can be run again.
bring_back() {
    stop_users || return 1
    if is_kept; then
        archive undo "$DATABASE" || return 1
        # This one is of the same restore: before it kept anything it has dropped any other.
        if [[ $KIND == postgresql ]] && has_database uploads_before; then
            postgres dropdb -U uploads --if-exists --force uploads || return 1
            rename_database uploads_before uploads || return 1
        fi
    fi
    forget || return 1
    start_users || return 1
    say "what was there is back, and runs"
}

undo_killed() {
    read -r -d '' -a USERS < <(users_of_data) || true
    bring_back || die "it could not be brought back"
}

# What is kept first: from then on the databases beside it are nobody's.
forget() {
    archive forget || return 1
    [[ $KIND == sqlite ]] || postgres dropdb -U uploads --if-exists --force uploads_restored
    [[ $KIND == sqlite ]] || postgres dropdb -U uploads --if-exists --force uploads_before
}

main "$@"
