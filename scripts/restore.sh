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
    local file=${1:-} kept
    need_engine
    [[ -n $file ]] || die "which one? make restore FILE=backups/NAME.tar$(latest)"
    [[ -f $ENV_FILE && -n $(containers_of web) ]] || die "there is no stack to restore into; run: make up"
    need_own_database
    refuse_shared "$(source_of "$(containers_of web | head -n 1)" /srv/media)"
    refuse_shared "$(source_of "$(containers_of web | head -n 1)" /srv/data)"
    hold_lock 0
    if [[ $file == --undo ]]; then
        undo_killed
        return
    fi
    look_at_archive "$file"
    kept=$(archive kept) || die "whether an earlier restore was cut short cannot be seen; nothing was changed"
    [[ -z $kept ]] || die "an earlier restore was cut short; bring back what was there before it: scripts/restore.sh --undo"
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
    [[ -n $(archive library) ]] || adopt
    start_users || die "the stack did not become healthy with what was restored"
    STATE=finished
    forget
    say "restored, and all is well"
}

latest() {
    local name
    name=$(cd "$ROOT" && find "${BACKUPS:-backups}" -maxdepth 1 -name '*.tar' 2>/dev/null | sort | tail -n 1)
    [[ -z $name ]] || printf ' (the latest is %s)' "$name"
}

look_at_archive() {
    local held
    [[ -r $1 ]] || die "$1 cannot be read"
    say "checking the archive"
    held=$(archive check < "$1") || die "$1 is not restored; nothing was changed"
    [[ $(head -n 1 <<< "$held") == "$KIND" ]] ||
        die "$1 holds a database of $(head -n 1 <<< "$held"), and DATABASE_URL names one of $KIND;" \
            "one cannot become the other. Nothing was changed"
    FILES=$(($(wc -l <<< "$held") - 1))
}

agreed() {
    cat >&2 << TEXT
This replaces every row and every photo of "$(setting COMPOSE_PROJECT_NAME)" by those of
  $1 ($FILES files)
What came after that backup is gone then, unless you have another (make backup). Uploads are refused for some seconds.
TEXT
    confirmed
}

unpack() {
    if [[ $KIND == sqlite ]]; then
        archive unpack < "$1"
        return
    fi
    postgres createdb --owner=uploads uploads_restored
    archive unpack < "$1" | postgres pg_restore --exit-on-error --no-owner --role=uploads --dbname=uploads_restored
}

# Whatever has the application's code, and so its database, open; also what a restore that was killed has stopped.
users_of_data() {
    local service
    for service in web gunicorn runserver; do
        containers_of "$service" --filter status=running --filter status=restarting --filter status=exited
    done
}

stop_users() { docker stop "${USERS[@]}" >/dev/null; }

# A backup from before there were ids does not say so itself; that they were saved together does.
adopt() {
    say "noting that these photos are this database's"
    quietly "$ROOT/scripts/compose.sh" run --rm --no-deps -T migrate sh -c "$ADOPT" ||
        warn "that did not work, so nothing is swept; make doctor says what to do"
}

# The command is the sample project's; one that has none does without.
# shellcheck disable=SC2016  # a variable there
ADOPT='
    commands=$(python manage.py help --commands) || exit
    ! echo "$commands" | grep -qx adopt_media || exec python manage.py adopt_media --yes'

# Sessions that somebody has open would keep a database from being renamed.
exchange_databases() {
    rename_database uploads uploads_before
    rename_database uploads_restored uploads
}

rename_database() {
    postgres psql --quiet --set ON_ERROR_STOP=1 --dbname=postgres \
        --command "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '$1'" \
        --command "ALTER DATABASE $1 RENAME TO $2" >/dev/null
}

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

# Killed in between, or when it failed, it can be run again: what is kept is forgotten when all of it is back.
bring_back() {
    local kept
    stop_users || return 1
    kept=$(archive kept) || return 1
    if [[ -n $kept ]]; then
        archive undo "$DATABASE" || return 1
        [[ $KIND == sqlite ]] || bring_back_database || return 1
    fi
    forget || return 1
    start_users || return 1
    say "what was there is back, and runs"
}

# If there is one that was put aside, it is of the same restore: before that kept anything it has dropped any other. That
# PostgreSQL does not answer does not mean that there is none.
bring_back_database() {
    local found
    found=$(postgres psql --dbname=postgres -tAc "SELECT 1 FROM pg_database WHERE datname = 'uploads_before'") || return 1
    [[ -n $found ]] || return 0
    postgres dropdb --if-exists --force uploads || return 1
    rename_database uploads_before uploads
}

undo_killed() {
    read -r -d '' -a USERS < <(users_of_data) || true
    bring_back || die "it could not be brought back; what was there is kept. Mend it, then again: scripts/restore.sh --undo"
}

# What is kept first: from then on the databases beside it are nobody's.
forget() {
    archive forget || return 1
    [[ $KIND == postgresql ]] || return 0
    postgres dropdb --if-exists --force uploads_restored || return 1
    postgres dropdb --if-exists --force uploads_before
}

main "$@"
