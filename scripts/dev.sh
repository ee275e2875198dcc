#!/usr/bin/env bash
# Without an engine: the same Django project on our server, SQLite and pictures under var/, no nginx.
#
#   scripts/dev.sh             in the foreground, until Ctrl-C: what `make dev` runs
#   scripts/dev.sh --detach    in the background, until `make down`: what `make up` runs where there is no engine
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
HERE=$ROOT/scripts
PYTHON=$ROOT/.venv/bin/python
LOG=$(dev_file log)
DEV_PID=$(dev_file pid)

main() {
    # --- looks -------------------------------------------------------------------------------------------
    local port
    port=$(setting HTTP_PORT)
    FIRST=first
    [[ ! -e $ROOT/var/db.sqlite3 ]] || FIRST=''
    if dev_pid >/dev/null; then
        say "it runs already; to stop it: make down"
        exec "$HERE/story.sh" dev "$FIRST"
    fi
    ! is_taken "$port" || die "port $port is taken by $(holder_of "$port"); stop that, or set another HTTP_PORT in $ENV_FILE"

    # --- touches -----------------------------------------------------------------------------------------
    "$HERE/env.sh"
    "$HERE/venv.sh" app
    mkdir -p "$ROOT/var/spool" "$ROOT/var/static"
    settings_for_django
    "$PYTHON" "$ROOT/app/manage.py" migrate --noinput >&2
    sample_user
    if [[ ${1:-} == --detach ]]; then
        in_background "$port"
    else
        in_foreground "$port"
    fi
}

# What compose.yaml hands to web, for the same names; paths and database are left to their defaults under var/.
settings_for_django() {
    local name
    for name in SECRET_KEY DEBUG ALLOWED_HOSTS CSRF_TRUSTED_ORIGINS UPLOAD_MAX USER_QUOTA \
        LOGIN_FAILURES GALLERY_PUBLIC DEMO_USER DEMO_PASSWORD; do
        export "$name=$(setting "$name")"
    done
    unset DATABASE_URL MEDIA_ROOT STATIC_ROOT X_ACCEL_PREFIX DJANGO_SETTINGS_MODULE
    export PYTHONPATH=$ROOT/app:$ROOT PYTHONDONTWRITEBYTECODE=1
}

# As in compose.yaml: of a project that has such a command.
sample_user() {
    local commands
    commands=$("$PYTHON" "$ROOT/app/manage.py" help --commands)
    if grep -qx demo_user <<< "$commands"; then "$PYTHON" "$ROOT/app/manage.py" demo_user >&2; fi
}

serve() {
    exec "$PYTHON" -m wsgiserver config.wsgi:application --bind "$(setting BIND_ADDRESS):$(setting HTTP_PORT)" \
        --workers "$(setting WEB_WORKERS)" --threads "$(setting WEB_THREADS)" \
        --max-body "$(setting UPLOAD_MAX)" --spool-dir "$ROOT/var/spool"
}

in_background() {
    serve >"$LOG" 2>&1 </dev/null &
    echo $! > "$DEV_PID"
    wait_until_it_answers "$1" $!
    say "it runs in the background; log: ${LOG#"$ROOT"/}; to stop it: make down"
    "$HERE/story.sh" dev "$FIRST"
}

in_foreground() {
    serve &
    echo $! > "$DEV_PID"
    # shellcheck disable=SC2064  # the id as it is now
    trap "kill -TERM $! 2>/dev/null || true; wait $! || true; rm -f '$DEV_PID'" EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    wait_until_it_answers "$1" $!
    say "Ctrl-C stops it"
    "$HERE/story.sh" dev "$FIRST"
    wait $!
}

wait_until_it_answers() {
    local deadline=$((SECONDS + 30))
    until is_taken "$1"; do
        kill -0 "$2" 2>/dev/null || die "the server ended at once: $(tail -n 5 "$LOG" 2>/dev/null || true)"
        ((SECONDS < deadline)) || die "the server does not answer on port $1 after 30 seconds"
        sleep 0.2
    done
}

main "$@"
